// `exclude_seen` is an input with a default, an initializer of the graph. ONNX Runtime for the web feeds only inputs
// that have none, so the default is taken out of the model's bytes. Nothing else in them changes.
//
// ONNX is Protocol Buffers: ModelProto.graph is field 7, GraphProto.initializer field 5, TensorProto.name field 8.

const GRAPH = 7;
const INITIALIZER = 5;
const NAME = 8;

/**
 * @param {Uint8Array} model an ONNX model
 * @param {string} name of an initializer
 * @returns {Uint8Array} the model without it
 */
export function withoutDefault(model, name) {
  const graph = find(model, 0, model.length, GRAPH, () => true);
  const tensor = graph && find(model, graph.content, graph.end, INITIALIZER, (field) => nameOf(model, field) === name);
  if (!tensor) throw new Error(`the model has no input ${name}`);
  const length = varint(graph.end - graph.content - (tensor.end - tensor.start));
  return join(
    model.subarray(0, graph.start),
    Uint8Array.of((GRAPH << 3) | 2, ...length),
    model.subarray(graph.content, tensor.start),
    model.subarray(tensor.end),
  );
}

function nameOf(model, tensor) {
  const name = find(model, tensor.content, tensor.end, NAME, () => true);
  return name && new TextDecoder().decode(model.subarray(name.content, name.end));
}

/** First length-delimited field with this number that the test accepts: its start, its content's start, its end. */
function find(bytes, start, stop, number, accepts) {
  for (let at = start; at < stop; ) {
    const [key, afterKey] = readVarint(bytes, at);
    let end;
    let content = afterKey;
    if (key % 8 === 0) end = readVarint(bytes, afterKey)[1];
    else if (key % 8 === 1) end = afterKey + 8;
    else if (key % 8 === 5) end = afterKey + 4;
    else if (key % 8 === 2) {
      const [length, afterLength] = readVarint(bytes, afterKey);
      content = afterLength;
      end = afterLength + length;
    } else throw new Error("not an ONNX model");
    const field = { start: at, content, end };
    if (key === number * 8 + 2 && accepts(field)) return field;
    at = end;
  }
  return null;
}

function readVarint(bytes, at) {
  let value = 0;
  for (let factor = 1; ; factor *= 128) {
    const byte = bytes[at++];
    if (byte === undefined) throw new Error("not an ONNX model");
    value += (byte % 128) * factor; // not shifts: these work on 32 bits
    if (byte < 128) return [value, at];
  }
}

function varint(value) {
  const bytes = [];
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) + 128);
  return [...bytes, value];
}

function join(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((start, part) => (whole.set(part, start), start + part.length), 0);
  return whole;
}
