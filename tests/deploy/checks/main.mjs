// main.mjs manifests|markdown FILE…: prints what is wrong with them, and exits with 1 then.
import { checkManifests } from "./manifests.mjs";
import { checkMarkdown } from "./markdown.mjs";

const [what, ...files] = process.argv.slice(2);
const checks = { manifests: checkManifests, markdown: checkMarkdown };
if (!checks[what] || files.length === 0) throw new Error("usage: main.mjs manifests|markdown FILE…");
const complaints = await checks[what](files);
for (const line of complaints) console.error(line);
process.exit(complaints.length > 0 ? 1 : 0);
