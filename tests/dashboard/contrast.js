// Words with less than 4.5 to 1 between their ink and what is behind them (WCAG 2.2, 1.4.3): [ratio, who, words].
() => {
  const parse = (text) => {
    const n = (text.match(/[\d.]+/g) || []).map(Number);
    const whole = text.startsWith("color(") ? 255 : 1;
    return [n[0] * whole, n[1] * whole, n[2] * whole, n.length > 3 ? n[3] : 1];
  };
  const over = (a, b) => [0, 1, 2].map((i) => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
  const linear = (v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = (node) => {
    const layers = [];
    for (let e = node; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour[3] > 0) layers.push(colour);
      if (colour[3] >= 1) break;
    }
    return layers.reverse().reduce((below, colour) => over(colour, below), [255, 255, 255, 1]);
  };
  const opacity = (node) => {
    let all = 1;
    for (let e = node; e; e = e.parentElement) all *= Number(getComputedStyle(e).opacity);
    return all;
  };
  // what cannot be used, its label included, is exempt (1.4.3)
  const inactive = ":disabled, [aria-disabled=true], [data-testid=stSelectbox]:has(input:disabled)";
  const unread = inactive + ", [data-testid=stIconMaterial], style, script, canvas";
  const speaks = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  return [...document.querySelectorAll("[data-testid=stApp] *")]
    .filter((e) => speaks(e) && e.getClientRects().length && !e.closest(unread))
    .map((e) => {
      const style = getComputedStyle(e);
      const back = behind(e);
      const ink = parse(e instanceof SVGElement ? style.fill : style.color);
      ink[3] *= opacity(e);
      const [a, b] = [light(over(ink, back)), light(back)];
      const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      return [Math.round(100 * ratio) / 100, e.tagName, e.textContent.slice(0, 40)];
    })
    .filter(([ratio]) => !(ratio >= 4.5));
}
