// Names of items, and the search among them.

/** Lower case, without accents: what a search compares. */
function plain(text) {
  return text.normalize("NFD").replace(/\p{Mn}/gu, "").toLowerCase();
}

export class Catalogue {
  #tokens;
  #titles;
  #plain;

  /**
   * @param {string[]} tokens of items 1 .. N
   * @param {string[]} titles of the same items; empty where there is none
   */
  constructor(tokens, titles) {
    this.#tokens = tokens;
    this.#titles = titles;
    this.hasTitles = titles.some((title) => title !== "");
    this.#plain = tokens.map((_, index) => plain(this.label(index + 1)));
  }

  /** Title of an item, or its token where it has none. */
  label(id) {
    return this.#titles[id - 1] || this.#tokens[id - 1];
  }

  /**
   * Items whose name holds every word of the query, best match first: the whole name, its start, the start of one of
   * its words, anything else. Equal matches stay in the order of ids.
   * @param {string} query
   * @param {number} limit most items to give
   * @returns {number[]} ids
   */
  search(query, limit) {
    const wanted = plain(query).trim().replace(/\s+/g, " ");
    if (!wanted) return [];
    const words = wanted.split(" ");
    const found = [[], [], [], []];
    this.#plain.forEach((name, index) => {
      if (words.every((word) => name.includes(word))) found[grade(name, wanted)].push(index + 1);
    });
    return found.flat().slice(0, limit);
  }
}

function grade(name, wanted) {
  if (name === wanted) return 0;
  if (name.startsWith(wanted)) return 1;
  return ` ${name}`.includes(` ${wanted}`) ? 2 : 3;
}
