// Draws the diagrams of a page, in the colours of the page. The library is loaded only where there is one.
(() => {
  const figures = [...document.querySelectorAll("pre.diagram")].map((figure) => [figure, figure.textContent]);
  if (!figures.length) return;
  const dark = () => document.body.dataset.mdColorScheme === "slate";
  let drawn = 0;
  const draw = async () => {
    globalThis.mermaid.initialize({ startOnLoad: false, theme: dark() ? "dark" : "neutral" });
    for (const [figure, text] of figures) {
      const { svg } = await globalThis.mermaid.render(`diagram-${++drawn}`, text);
      figure.innerHTML = svg;
    }
  };
  const script = document.createElement("script");
  script.src = new URL("mermaid.min.js", document.currentScript.src).href;
  script.onload = async () => {
    await draw();
    new MutationObserver(draw).observe(document.body, { attributeFilter: ["data-md-color-scheme"] });
  };
  document.head.append(script);
})();
