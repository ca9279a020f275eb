export function render({ model }) {
  const box = document.createElement("div")
  box.className = "scroll rows"
  const cell = (kind, content) => {
    const made = document.createElement(kind)
    made.append(content)
    return made
  }
  const fill = () => {
    const table = document.createElement("table"), head = document.createElement("tr")
    head.append(...model.head.map((title) => cell("th", title)))
    table.append(head)
    for (const [i, [kind, ...cells]] of model.lines.entries()) {
      const row = document.createElement("tr"), open = document.createElement("button")
      row.className = kind
      row.setAttribute("aria-selected", i === model.chosen)
      open.textContent = cells[0]
      const why = cell("div", cells.at(-1))
      why.title = cells.at(-1)
      row.append(cell("td", open), ...[...cells.slice(1, -1), why].map((content) => cell("td", content)))
      row.addEventListener("click", () => model.send_msg(i))
      table.append(row)
    }
    box.replaceChildren(table)
  }
  model.on("lines", fill)
  model.on("chosen", fill)
  fill()
  return box
}
