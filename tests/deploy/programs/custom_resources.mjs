// Reads manifests as JSON and checks them against the operators' own definitions; exits with 1 and says what is wrong.
import { ScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject";
import { PodMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PodMonitor";
import { readFileSync } from "node:fs";

const kinds = { ScaledObject, PodMonitor };
let refused = false;
for (const manifest of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    new kinds[manifest.kind](manifest).validate();
  } catch (error) {
    console.log(`${manifest.kind} ${manifest.metadata.name}: ${error}`);
    refused = true;
  }
}
process.exit(refused ? 1 : 0);
