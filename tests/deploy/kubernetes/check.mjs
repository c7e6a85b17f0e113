// check.mjs FILE: every manifest of a kustomized stream is what Kubernetes' own schemas (npm: kubernetes-models) describe.
import { readFileSync } from "node:fs";
import { parseAllDocuments } from "yaml";

const folders = { v1: "v1", "apps/v1": "apps/v1", "policy/v1": "policy/v1", "networking.k8s.io/v1": "networking.k8s.io/v1" };
let bad = 0;
let good = 0;

for (const document of parseAllDocuments(readFileSync(process.argv[2], "utf8"))) {
  const manifest = document.toJS();
  if (!manifest) continue;
  const name = `${manifest.kind}/${manifest.metadata?.name}`;
  try {
    const folder = folders[manifest.apiVersion];
    if (!folder) throw new Error(`apiVersion ${manifest.apiVersion} is not known here`);
    const module = await import(`kubernetes-models/${folder}/${manifest.kind}`);
    const Model = module[manifest.kind] ?? module.default?.[manifest.kind];
    new Model(manifest).validate();
    good++;
  } catch (error) {
    console.error(`${name}: ${error.message}`);
    bad++;
  }
}
if (bad === 0 && good === 0) console.error("no manifest at all");
process.exit(bad > 0 || good === 0 ? 1 : 0);
