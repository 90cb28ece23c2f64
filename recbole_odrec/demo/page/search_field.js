// The search field: a combobox in the words of ARIA, so that it reads well without a mouse.

const MATCHES = 8;

/**
 * @param {import("./catalogue.js").Catalogue} catalogue
 * @param {{onPick: (id: number) => void, onBackspace: () => void}} actions what typing leads to
 */
export function makeSearchField(catalogue, { onPick, onBackspace }) {
  const input = document.getElementById("search");
  const list = document.getElementById("matches");
  const nothing = document.getElementById("no-match");
  let active = 0;

  function show() {
    const ids = catalogue.search(input.value, MATCHES);
    list.replaceChildren(...ids.map(option));
    list.hidden = ids.length === 0;
    input.setAttribute("aria-expanded", String(ids.length > 0));
    nothing.hidden = ids.length > 0 || !input.value.trim();
    nothing.textContent = nothing.hidden ? "" : `Nothing in the catalogue is called “${input.value.trim()}”.`;
    activate(0);
  }

  function option(id, index) {
    const item = document.createElement("li");
    item.id = `match-${index}`;
    item.setAttribute("role", "option");
    item.dataset.id = id;
    item.textContent = catalogue.label(id);
    return item;
  }

  function activate(index) {
    const options = [...list.children];
    active = options.length ? (index + options.length) % options.length : 0;
    options.forEach((item, i) => item.setAttribute("aria-selected", String(i === active)));
    options[active]?.scrollIntoView({ block: "nearest" });
    if (options.length) input.setAttribute("aria-activedescendant", `match-${active}`);
    else input.removeAttribute("aria-activedescendant");
  }

  function close() {
    list.hidden = nothing.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function pick(item) {
    input.value = "";
    show();
    onPick(Number(item.dataset.id));
  }

  input.addEventListener("input", show);
  input.addEventListener("focus", show);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Backspace" && input.value === "") return onBackspace();
    if (list.hidden) return;
    if (event.key === "ArrowDown") activate(active + 1);
    else if (event.key === "ArrowUp") activate(active - 1);
    else if (event.key === "Enter") pick(list.children[active]);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  });
  list.addEventListener("pointerdown", (event) => event.preventDefault()); // the field keeps the focus
  list.addEventListener("click", (event) => event.target.dataset.id && pick(event.target));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || document.activeElement === input) return;
    event.preventDefault();
    input.focus();
  });

  input.placeholder = catalogue.hasTitles ? "Type a title" : "Type the id of an item";
  input.disabled = false;
}
