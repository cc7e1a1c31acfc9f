// Which finding of this page an entry of a file is about: as decisions/review/matching.py, for the samples shown.

/**
 * Where the content of both is known it must be the same; else, where both have a file, the file; else the position.
 * @param {Sample} sample @param {string} name @param {string} digest @param {number} index
 */
function isSame(sample, name, digest, index) {
  if (digest && sample.digest) return digest === sample.digest;
  return name && sample.name ? name === sample.name : index === sample.index;
}

/** Positions by content and by file. @type {Map<string, number[]>|undefined} */
let positions;

/** @param {string} key @returns {number[]} */
function positionsOf(key) {
  if (positions === undefined) {
    positions = new Map();
    for (const index of Object.keys(raw.samples).map(Number)) {
      const { name, digest } = sampleOf(String(index));
      for (const known of [name && `file ${name}`, digest && `content ${digest}`].filter(Boolean)) positions.set(known, [...(positions.get(known) ?? []), index]);
    }
  }
  return positions.get(key) ?? [];
}

/**
 * The index of the sample now; -1: not found, or ambiguous. A label belongs to a file in its folder: a copy under another
 * name may have another one.
 * @param {string} issue @param {number} index @param {string} name @param {string} digest
 */
function placeOf(issue, index, name, digest) {
  const fits = (i) => isSame(sampleOf(String(i)), name, digest, index);
  const found = [...new Set([...positionsOf(`content ${digest}`), ...positionsOf(`file ${name}`)])].filter(fits);
  const alike = found.filter((i) => sampleOf(String(i)).name === name);
  if (alike.length === 1) return alike[0];
  if (index in raw.samples && fits(index)) return index;
  return found.length === 1 && issue !== "label_errors" ? found[0] : -1;
}

/** @param {any} entry @returns {Finding|undefined} the finding that an entry is about */
function findingOf(entry) {
  const known = byKey[entry.issue];
  const own = placeOf(entry.issue, entry.index ?? -1, entry.sample ?? "", entry.digest ?? "");
  if (known === undefined || own < 0) return undefined;
  const [index, name, digest] = [entry.other_index ?? -1, entry.other_sample ?? "", entry.other_digest ?? ""];
  if (entry.issue === "near_duplicates") {
    const other = placeOf(entry.issue, index, name, digest);
    return known.get(`${own}|${other}|`) ?? known.get(`${other}|${own}|`);
  }
  if (entry.issue !== "leakage") return known.get(String(own));
  const pairs = findings.leakage.filter((one) => one.index === own && one.otherSplit === entry.other_split && isSame(sampleOf(one.item.samples[1]), name, digest, index));
  return pairs.find((one) => sampleOf(one.item.samples[1]).name === name && one.otherIndex === index) ?? pairs.find((one) => sampleOf(one.item.samples[1]).name === name) ?? pairs[0];
}
