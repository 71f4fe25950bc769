// The nodes as columns, as `api/v1/map` sends them, and the changes to them.

export const OK = 0, CORDONED = 1, FAILED = 2;

export class Cluster {
  constructor(map) {
    const nodes = map.nodes;
    Object.assign(this, nodes); // row, name, zone, rack, model, wiring, state, pods, cpu_milli, …
    this.models = map.models;
    this.zones = map.zones;
    this.racks = map.racks;
    this.wirings = map.wirings;
    this.size = nodes.name.length;
    this.indexOfRow = new Map(nodes.row.map((row, at) => [row, at]));
    this.indexOfName = new Map(nodes.name.map((name, at) => [name, at]));
    // Devices of all nodes one after the other; `first` says where a node's begin.
    this.first = new Uint32Array(this.size + 1);
    nodes.gpu_milli_free.forEach((free, at) => { this.first[at + 1] = this.first[at] + free.length; });
    this.free = Int16Array.from(nodes.gpu_milli_free.flat());
    // When a device last changed (ms of this page), to let it light up.
    this.changed = new Float64Array(this.free.length).fill(-1e9);
  }

  gpus(at) {
    return this.first[at + 1] - this.first[at];
  }

  /** Takes changed rows; false when one is not known and the map must be read again. */
  apply(rows, now) {
    for (let i = 0; i < rows.row.length; i++) {
      const at = this.indexOfRow.get(rows.row[i]);
      if (at === undefined) return false;
      const free = rows.gpu_milli_free[i];
      const from = this.first[at];
      if (free.length !== this.first[at + 1] - from) return false;
      for (let slot = 0; slot < free.length; slot++) {
        if (this.free[from + slot] !== free[slot]) {
          // Only what fills up lights up: that is a decision, an end is not.
          if (free[slot] < this.free[from + slot]) this.changed[from + slot] = now;
          this.free[from + slot] = free[slot];
        }
      }
      for (const column of ["state", "pods", "cpu_milli_free", "memory_mib_free"]) {
        this[column][at] = rows[column][i];
      }
    }
    return true;
  }

  /** Healthy devices of a node and the milli-GPU in use on them. */
  usage(at) {
    let healthy = 0, used = 0;
    for (let i = this.first[at]; i < this.first[at + 1]; i++) {
      if (this.free[i] < 0) continue;
      healthy += 1;
      used += 1000 - this.free[i];
    }
    return { healthy, used };
  }

  rackOf(at) {
    return this.rack[at] < 0 ? "" : this.racks[this.rack[at]];
  }

  zoneOf(at) {
    return this.zone[at] < 0 ? "" : this.zones[this.zone[at]];
  }

  modelOf(at) {
    return this.model[at] < 0 ? "no GPU" : this.models[this.model[at]];
  }

  wiringOf(at) {
    return this.wiring[at] < 0 ? null : this.wirings[this.wiring[at]];
  }

  stateOf(at) {
    return ["", "cordoned", "failed"][this.state[at]];
  }
}
