// The pages keep markdownlint's rules (npm: markdownlint), but for those that are a matter of taste here.
import { lint } from "markdownlint/sync";

const config = {
  default: true,
  "line-length": { line_length: 200, code_blocks: false, tables: false },
  "code-block-style": { style: "indented" },
  "first-line-heading": true,
  "no-inline-html": true,
  "blanks-around-lists": false,
  // Formulas: a * b, and shapes: [rows, hidden].
  "no-space-in-emphasis": false,
  "reference-links-images": false,
};

// files: pages. Lines about what is wrong.
export function checkMarkdown(files) {
  const found = lint({ files, config });
  return Object.entries(found).flatMap(([file, problems]) =>
    problems.map((p) => `${file}:${p.lineNumber}: ${p.ruleNames.join("/")}: ${p.ruleDescription}${p.errorDetail ? ` (${p.errorDetail})` : ""}`));
}
