// Keeps filters, order and place in the page's address, so that a view can be shared, reloaded and left with Back.

export function read(prefix, defaults) {
  const query = new URLSearchParams(location.search);
  return Object.fromEntries(Object.entries(defaults).map(([key, value]) => [key, query.get(`${prefix}.${key}`) ?? value]));
}

export function write(prefix, state, defaults, { push = false } = {}) {
  const address = new URL(location.href);
  for (const [key, value] of Object.entries(state)) {
    if (value === defaults[key]) address.searchParams.delete(`${prefix}.${key}`);
    else address.searchParams.set(`${prefix}.${key}`, value);
  }
  if (address.href === location.href) return;
  if (push) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
}
