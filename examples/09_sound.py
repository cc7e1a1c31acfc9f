"""Audit sounds: a log-spectrogram is a image of one channel, so an encoder can be trained on the sounds themselves.

The sounds are synthetic, half a second of five made-up instruments: nothing real can be had without a download.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.signal import sawtooth, square, stft

from selfclean_hooks import audit

RATE, SECONDS = 8000, 0.5
INSTRUMENTS = ("bell", "flute", "organ", "pluck", "drum")
Sound = NDArray[np.float64]  # (4000,)
rng = np.random.default_rng(0)
t: Sound = np.arange(int(RATE * SECONDS)) / RATE


def played(instrument: str) -> Sound:
    """One note of random pitch, loudness and attack."""
    pitch, attack = rng.uniform(180, 500), 1 - np.exp(-t / rng.uniform(0.005, 0.03))
    phase = 2 * np.pi * pitch * t
    note = {
        "bell": np.sin(phase + 4 * np.exp(-6 * t) * np.sin(2.8 * phase)) * np.exp(-5 * t),
        "flute": np.sin(phase + 0.6 * np.sin(2 * np.pi * rng.uniform(4, 6) * t)) + rng.normal(0, 0.05, len(t)),
        "organ": square(phase) + 0.5 * square(2 * phase),
        "pluck": sawtooth(phase) * np.exp(-t * rng.uniform(8, 14)),
        "drum": rng.normal(size=len(t)) * np.exp(-30 * t) + np.sin(0.3 * phase) * np.exp(-12 * t),
    }[instrument]
    sound: Sound = rng.uniform(0.3, 1) * attack * note
    return sound + rng.normal(0, 0.003, len(t))


def spectrogram(sound: Sound) -> NDArray[np.float32]:
    """(1, 32, 32) decibels of a sound, up to 4 kHz and half a second: a image of one channel."""
    power = np.abs(stft(sound, RATE, nperseg=128, noverlap=0)[2][:64, :32]) ** 2
    decibels: NDArray[np.float32] = 10 * np.log10(power.reshape(32, 2, 32).mean(1) + 1e-5).astype(np.float32)
    return decibels[None]


labels = np.arange(150) % len(INSTRUMENTS)
sounds = [played(INSTRUMENTS[label]) for label in labels]
clean = len(sounds)

# planted: 12 wrong labels, 12 copies that are quieter, later and noisier, and 6 sounds of no instrument
wrong, copied = rng.choice(clean, 12, replace=False), rng.choice(clean, 12, replace=False)
labels[wrong] = (labels[wrong] + rng.integers(1, len(INSTRUMENTS), len(wrong))) % len(INSTRUMENTS)
sounds += [0.8 * np.roll(sounds[i], 20) + rng.normal(0, 0.003, len(t)) for i in copied]
strange = [rng.normal(size=len(t)), 1e-3 * rng.normal(size=len(t)), np.sign(np.sin(2 * np.pi * 50 * t))]
strange += [np.sin(2 * np.pi * 4000 * t * t), np.sin(2 * np.pi * 3500 * t), (rng.random(len(t)) < 0.002) * 1.0]
sounds += strange
given = [INSTRUMENTS[label] for label in (*labels, *labels[copied], *rng.integers(0, len(INSTRUMENTS), len(strange)))]

dataset = [(spectrogram(sound), label) for sound, label in zip(sounds, given, strict=True)]
a = audit(dataset, backbone="self-supervised", progress=False)
print(f"{clean} sounds, {len(sounds) - clean} added\n{a.summary.to_string()}\n")

nearest = a.pairs[["index_1", "index_2"]].head(24).to_numpy().tolist()
pairs = sum([int(i), clean + place] in nearest for place, i in enumerate(copied))
errors = np.isin(wrong, a.frame["label_score"].sort_values().index[:24]).sum()
found = np.isin(np.arange(clean + len(copied), len(sounds)), a.frame["off_topic_score"].sort_values().index[:12]).sum()
print(f"planted copies among the 24 nearest pairs: {pairs} of {len(copied)}")
print(f"planted wrong labels among the 24 worst: {errors} of {len(wrong)}")
print(f"planted sounds of no instrument among the 12 worst: {found} of {len(strange)}")
assert errors >= 6, "half of the planted wrong labels are among the worst"
