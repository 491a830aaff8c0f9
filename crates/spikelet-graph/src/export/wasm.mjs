// A network as a WebAssembly module: load() it, then step() with the readings of a time step.

/** Names of classes and channels; empty where the model has none. */
export const classes = CLASSES;
export const channels = CHANNELS;
/** What fires: names and numbers of neurons. */
export const populations = POPULATIONS;

/** Instantiates the module from its bytes. */
export async function load(bytes) {
  const { instance } = await WebAssembly.instantiate(bytes, {});
  const net = instance.exports;
  const Scores = INTEGER ? Int32Array : Float32Array;
  // Made anew every time: memory that grows leaves old views empty.
  const readings = () => new Float32Array(net.memory.buffer, net.readings(), net.inputs());
  const spikes = () => new Uint8Array(net.memory.buffer, net.spikes(), net.neurons());
  const scores = () => new Scores(net.memory.buffer, net.scores(), net.outputs());
  return {
    inputs: net.inputs(),
    outputs: net.outputs(),
    neurons: net.neurons(),
    /** Steps of a decision, after which reset() is called; 0: none. */
    window: net.window(),
    /** Scores stand for score / 2^fraction. */
    fraction: FRACTION,
    reset: () => net.reset(),
    /**
     * One time step; a reading that is NaN counts as the mean of its channel. `spikes` holds 1 for
     * every neuron that fired, population after population.
     */
    step(x) {
      if (x.length !== net.inputs()) {
        throw new RangeError(`a step takes ${net.inputs()} readings, not ${x.length}`);
      }
      readings().set(x);
      const decision = net.step();
      return { decision, scores: Array.from(scores()), spikes: spikes().slice() };
    },
  };
}
