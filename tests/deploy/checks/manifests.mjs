// Every manifest of kustomized streams is what Kubernetes' own schemas (npm: kubernetes-models) describe.
import { readFileSync } from "node:fs";
import { parseAllDocuments } from "yaml";

const folders = { v1: "v1", "apps/v1": "apps/v1", "policy/v1": "policy/v1", "networking.k8s.io/v1": "networking.k8s.io/v1" };

// The text of what is wrong with it, or undefined.
async function complaint(manifest) {
  try {
    const folder = folders[manifest.apiVersion];
    if (!folder) return `apiVersion ${manifest.apiVersion} is not known here`;
    const module = await import(`kubernetes-models/${folder}/${manifest.kind}`);
    const Model = module[manifest.kind] ?? module.default?.[manifest.kind];
    new Model(manifest).validate();
  } catch (error) {
    return error.message;
  }
}

// files: what kustomize wrote. Lines about what is wrong.
export async function checkManifests(files) {
  const complaints = [];
  for (const file of files) {
    const manifests = parseAllDocuments(readFileSync(file, "utf8")).map((document) => document.toJS()).filter(Boolean);
    if (manifests.length === 0) complaints.push(`${file}: no manifest at all`);
    for (const manifest of manifests) {
      const why = await complaint(manifest);
      if (why) complaints.push(`${file}: ${manifest.kind}/${manifest.metadata?.name}: ${why}`);
    }
  }
  return complaints;
}
