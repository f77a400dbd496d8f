// Small helps for making and changing elements.

/** An element with properties, and children that are elements or texts. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, each] of Object.entries(properties)) {
    if (key.includes("-")) made.setAttribute(key, each);
    else made[key] = each;
  }
  made.append(...children);
  return made;
}

/** Change a text only when it is another one: the browser need not lay out what stays. */
export function say(made, text) {
  if (made.textContent !== text) made.textContent = text;
}

/** The same for a class. */
export function dress(made, name) {
  if (made.className !== name) made.className = name;
}

/** Buttons of which one is pressed; `choose(key)` when it is another one. Returns the function that presses one. */
export function choices(parent, keys, label, choose) {
  const press = (key) => {
    for (const each of parent.children) each.setAttribute("aria-pressed", String(each.dataset.key === key));
  };
  parent.replaceChildren(...keys.map((key) => {
    const made = element("button", { type: "button" }, label(key));
    made.dataset.key = key;
    made.addEventListener("click", () => {
      press(key);
      choose(key);
    });
    return made;
  }));
  press(keys[0]);
  return press;
}
