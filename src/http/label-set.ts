/** Values of one label that are shown by name; further ones are counted together. */
const MAX_VALUES = 100;
const REST = 'other';

/** Bounds the values of each label, so that many databases or replicas cannot grow the page without limit. */
export class LabelSet {
  readonly #values = new Map<string, Set<string>>();

  /** The value itself while there is room for it, else `other`. */
  of(label: string, value: string): string {
    let values = this.#values.get(label);
    if (values === undefined) {
      values = new Set();
      this.#values.set(label, values);
    }
    if (values.has(value)) return value;
    if (values.size >= MAX_VALUES) return REST;
    values.add(value);
    return value;
  }
}
