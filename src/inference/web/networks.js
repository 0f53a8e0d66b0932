// The graphs that `tempohand onnx` writes, under onnxruntime-web: WebAssembly on one thread, since more need
// headers (cross-origin isolation) that a folder of files cannot send.

export class Networks {
  // ort: the address of onnxruntime-web's folder; say: told what is loading.
  static async load(ort, say) {
    const networks = new Networks();
    say("onnxruntime-web");
    networks.ort = await import(new URL("ort.wasm.min.mjs", ort));
    networks.ort.env.wasm.wasmPaths = ort;
    networks.ort.env.wasm.numThreads = 1;
    networks.about = await (await fetched("tempohand.json")).json();
    networks.sessions = {};
    for (const [name, graph] of Object.entries(networks.about.graphs)) {
      say(graph.file);
      const content = new Uint8Array(await (await fetched(graph.file)).arrayBuffer());
      networks.sessions[name] = await networks.ort.InferenceSession.create(content, {
        executionProviders: ["wasm"],
        graphOptimizationLevel: "all",
        freeDimensionOverrides: { n: 1 }, // most of a graph's sizes are then known when it is loaded
      });
    }
    return networks;
  }

  // A graph's outputs, as flat arrays by name. inputs: by name [type, values, shape].
  async run(name, inputs) {
    const { Tensor } = this.ort;
    const given = Object.entries(inputs).map(([key, [type, values, shape]]) =>
      [key, new Tensor(type, values, shape)]);
    const outputs = await this.sessions[name].run(Object.fromEntries(given));
    return Object.fromEntries(Object.entries(outputs).map(([key, tensor]) => [key, tensor.data]));
  }
}

async function fetched(file) {
  const answer = await fetch(new URL(file, import.meta.url));
  if (!answer.ok) throw new Error(`${file}: ${answer.status} ${answer.statusText}`);
  return answer;
}
