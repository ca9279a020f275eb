export function render({ model }) {
  const row = document.createElement("div")
  row.className = "files"
  const copy = async (address, button) => {
    const said = button.textContent
    try {
      const answer = await fetch(address)
      const text = await answer.text()
      if (!answer.ok) throw new Error(text)
      await navigator.clipboard.writeText(text)
      button.textContent = "copied"
    } catch (error) {
      button.textContent = "the browser does not allow it"
    }
    setTimeout(() => { button.textContent = said }, 2000)
  }
  const fill = () => {
    row.replaceChildren(model.title)
    for (const [label, address, copied] of model.links) {
      const link = document.createElement(copied ? "button" : "a")
      link.textContent = label
      if (copied) link.addEventListener("click", () => copy(address, link))
      else {
        link.href = address
        link.download = ""
      }
      row.append(link)
    }
  }
  model.on("links", fill)
  fill()
  return row
}
