// Parts of a page that the server renders again and again: only what differs is changed, so that whoever
// has the focus keeps it, and nobody is read the same twice.

const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.dataset.key : undefined);

// Makes `host`'s children what `html` says. The server has escaped whatever people said.
export function show(host, html) {
  morphChildren(host, new DOMParser().parseFromString(html, "text/html").body);
}

function morphChildren(host, next) {
  const wanted = [...next.childNodes];
  const keyed = new Map([...host.childNodes].filter(keyOf).map((node) => [keyOf(node), node]));
  wanted.forEach((node, at) => {
    const present = host.childNodes[at];
    const known = keyOf(node) ? keyed.get(keyOf(node)) : fits(present, node) ? present : undefined;
    if (!known) {
      host.insertBefore(document.importNode(node, true), present ?? null);
      return;
    }
    if (known !== present) {
      host.insertBefore(known, present ?? null);
    }
    morph(known, node);
  });
  while (host.childNodes.length > wanted.length) {
    host.lastChild.remove();
  }
}

const fits = (node, next) => node && node.nodeName === next.nodeName && !keyOf(node);

function morph(node, next) {
  if (node.nodeType !== Node.ELEMENT_NODE) {
    if (node.nodeValue !== next.nodeValue) {
      node.nodeValue = next.nodeValue;
    }
    return;
  }
  for (const { name } of [...node.attributes]) {
    if (!next.hasAttribute(name) && name !== "open") { // a reader has opened that
      node.removeAttribute(name);
    }
  }
  for (const { name, value } of next.attributes) {
    if (node.getAttribute(name) !== value) {
      node.setAttribute(name, value);
    }
  }
  morphChildren(node, next);
}
