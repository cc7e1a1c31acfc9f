// What is listed as a table for other programs.

const CSV_COLUMNS = ["issue", "index", "file", "other_index", "other_file", "split", "score", "flagged", "given_label", "predicted_label", "decision", "new_label"];

/** A cell that no program takes for a formula. @param {unknown} value */
function csvCell(value) {
  const text = String(value ?? "");
  const number = /^[-+]?\d+(\.\d*)?([eE][-+]?\d+)?$/.test(text);
  const safe = (/^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/.test(text) && !number ? `'${text}` : text).replace(/([;\t\n\r]\s*["']*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])/g, "$1'");
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** One row for each finding. @param {Item[]} list */
function csvOf(list) {
  const rows = list.flatMap((item) => item.findings.map((finding) => {
    const sample = sampleOf(String(finding.index));
    const other = finding.otherIndex < 0 ? null : sampleOf(finding.otherSplit ? item.samples[1] : String(finding.otherIndex));
    const made = markOf(finding);
    return [item.issue, finding.index, sample.name, other?.index, other?.name, finding.otherSplit, Number.isNaN(finding.score) ? "" : finding.score, isFlagged(item), sample.given, sample.predicted, made?.verdict, made?.label];
  }));
  return [CSV_COLUMNS, ...rows].map((row) => `${row.map(csvCell).join(",")}\n`).join("");
}
