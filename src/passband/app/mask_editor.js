const TOOLS = {
  move: ["Move", "Drag to move the picture; the wheel zooms with every tool."],
  brush: ["Brush", "Begin on a particle to enlarge it, on the background to draw a new one."],
  erase: ["Erase", "Wipe over what is no particle; what is cut off becomes a particle of its own."],
  split: ["Split", "Draw a line through a particle, from outside to its other side."],
  merge: ["Merge", "Draw a line from one particle into the others that belong to it."],
  remove: ["Remove", "Click a particle, or draw over several, to delete them."],
}
const COLOUR = { erase: "#ff6b6b", remove: "#ff6b6b", split: "#ffffff" }

export function render({ model }) {
  const root = document.createElement("div")
  root.className = "editor"
  root.innerHTML = `
    <div class="tools"></div>
    <div class="tools">
      <label class="size">size <input type="range" min="0" max="100" value="45" aria-label="size of brush and eraser"><span></span></label>
      <button class="undo" title="Ctrl+Z">Undo</button><button class="redo" title="Ctrl+Shift+Z">Redo</button>
      <button class="out" aria-label="zoom out">−</button><button class="in" aria-label="zoom in">+</button>
      <button class="whole">Whole picture</button>
    </div>
    <div class="view" tabindex="0"><div class="stage"><canvas class="image"></canvas><canvas class="labels"></canvas></div><canvas class="top"></canvas></div>
    <p class="note"></p>`
  const find = (name) => root.querySelector(name)
  const view = find(".view"), stage = find(".stage"), top = find(".top"), help = find(".note")
  const image = find(".image"), labels = find(".labels"), range = find("input")
  const undo = find(".undo"), redo = find(".redo")
  let scene = null, tool = "brush", zoom = 1, offset = [0, 0], strokes = [], current = null, cursor = null, sent = 0
  const buttons = {}
  for (const [name, [title]] of Object.entries(TOOLS)) {
    const button = document.createElement("button")
    button.textContent = title
    button.className = `tool-${name}`
    button.addEventListener("click", () => choose(name))
    buttons[name] = button
    find(".tools").append(button)
  }
  const choose = (name) => {
    tool = name
    for (const [key, button] of Object.entries(buttons)) button.setAttribute("aria-pressed", key === name)
    help.textContent = TOOLS[name][1]
    view.style.cursor = name === "move" ? "grab" : "crosshair"
  }
  // Pixels of the whole image in one of the screen.
  const scale = () => scene.width / (view.clientWidth * zoom)
  // From 4 pixels of the image to a fifth of its width, in equal factors.
  const radius = () => 2 * (scene.width / 20) ** (range.value / 100)
  const wide = (name) => name === "brush" || name === "erase"
  const place = (event) => {
    const box = view.getBoundingClientRect()
    return [event.clientX - box.left, event.clientY - box.top]
  }
  const inside = ([x, y]) => [(x - offset[0]) * scale(), (y - offset[1]) * scale()]

  let due = false
  const redraw = () => {
    if (!due) requestAnimationFrame(draw)
    due = true
  }
  const draw = () => {
    due = false
    if (!scene) return
    const ratio = window.devicePixelRatio || 1, [w, h] = [view.clientWidth, view.clientHeight]
    if (top.width !== Math.round(w * ratio) || top.height !== Math.round(h * ratio)) {
      top.width = Math.round(w * ratio)
      top.height = Math.round(h * ratio)
    }
    const pen = top.getContext("2d")
    pen.setTransform(ratio, 0, 0, ratio, 0, 0)
    pen.clearRect(0, 0, w, h)
    stage.style.width = `${w}px`
    stage.style.height = `${(w * scene.height) / scene.width}px`
    stage.style.transform = `translate(${offset[0]}px, ${offset[1]}px) scale(${zoom})`
    const at = ([x, y]) => [x / scale() + offset[0], y / scale() + offset[1]]
    pen.lineCap = pen.lineJoin = "round"
    for (const stroke of current && current.tool !== "move" ? [...strokes, current] : strokes) {
      pen.strokeStyle = COLOUR[stroke.tool] || "#ffd43b"
      pen.globalAlpha = wide(stroke.tool) ? 0.6 : 1
      pen.lineWidth = wide(stroke.tool) ? (2 * stroke.radius) / scale() : 2.5
      pen.beginPath()
      pen.moveTo(...at(stroke.points[0]))
      for (const point of stroke.points) pen.lineTo(...at(point))
      pen.stroke()
    }
    pen.globalAlpha = 1
    pen.font = "600 12px system-ui, sans-serif"
    pen.textAlign = "center"
    pen.textBaseline = "middle"
    for (const [x, y, number, diameter] of scene.numbers || []) {
      const [left, down] = at([x, y])
      if (diameter / scale() < 7 * number.length + 6 || left < 0 || down < 0 || left > w || down > h) continue
      pen.lineWidth = 3
      pen.strokeStyle = "#000"
      pen.strokeText(number, left, down)
      pen.fillStyle = "#fff"
      pen.fillText(number, left, down)
    }
    if (cursor && wide(tool)) {
      pen.lineWidth = 1.5
      pen.strokeStyle = "#fff"
      pen.beginPath()
      pen.arc(...cursor, radius() / scale(), 0, 2 * Math.PI)
      pen.stroke()
    }
    find(".size span").textContent = `${((2 * radius() * scene.pixel) / 10).toPrecision(2)} nm`
  }
  const clamp = () => {
    const [w, h] = [view.clientWidth, view.clientHeight]
    const size = [w * zoom, (w * zoom * scene.height) / scene.width]
    offset = offset.map((v, i) => Math.min(Math.max(v, Math.min([w, h][i] - size[i], 0)), 0))
  }
  const zoomed = (factor, [x, y]) => {
    const next = Math.min(Math.max(zoom * factor, 1), 40)
    offset = [x - ((x - offset[0]) * next) / zoom, y - ((y - offset[1]) * next) / zoom]
    zoom = next
    clamp()
    redraw()
  }
  const middle = () => [view.clientWidth / 2, view.clientHeight / 2]

  const load = (url) => new Promise((done) => {
    const picture = new Image()
    picture.onload = () => done(picture)
    picture.src = url
  })
  // One after the other, so that a later patch is not drawn over by an earlier one.
  let drawn = Promise.resolve()
  const patch = (part) => {
    const picture = load(part.url)
    drawn = drawn.then(async () => {
      const pen = labels.getContext("2d"), loaded = await picture
      pen.clearRect(part.x, part.y, loaded.width, loaded.height)
      pen.drawImage(loaded, part.x, part.y)
    })
    return drawn
  }
  const open = async () => {
    scene = model.scene.width ? { ...model.scene } : null
    if (!scene) return
    strokes = []
    current = null
    zoom = 1
    offset = [0, 0]
    view.style.aspectRatio = `${scene.width} / ${scene.height}`
    view.style.maxWidth = `max(280px, calc((100vh - 260px) * ${scene.width / scene.height}))`
    for (const canvas of [image, labels]) [canvas.width, canvas.height] = scene.shown
    const picture = await load(scene.image)
    image.getContext("2d").drawImage(picture, 0, 0)
    await patch({ url: scene.labels, x: 0, y: 0 })
    allow(scene)
    redraw()
  }
  const allow = (state) => {
    undo.disabled = !state.undo
    redo.disabled = !state.redo
  }
  model.on("msg:custom", async (news) => {
    if (news.numbers && scene) scene.numbers = news.numbers
    if (news.url) await patch(news)
    if ("undo" in news) allow(news)
    if (news.id) strokes = strokes.filter((stroke) => stroke.id !== news.id)
    redraw()
  })
  model.on("scene", open)

  view.addEventListener("pointerdown", (event) => {
    if (!scene || (event.button !== 0 && event.button !== 1) || current) return
    event.preventDefault()
    view.focus()
    view.setPointerCapture(event.pointerId)
    cursor = place(event)
    const moving = tool === "move" || event.button === 1
    current = { id: ++sent, tool: moving ? "move" : tool, radius: radius(), points: [inside(cursor)], from: cursor, pointer: event.pointerId }
    redraw()
  })
  view.addEventListener("pointermove", (event) => {
    if (!scene) return
    cursor = place(event)
    if (current && current.pointer === event.pointerId) {
      if (current.tool === "move") {
        offset = [offset[0] + cursor[0] - current.from[0], offset[1] + cursor[1] - current.from[1]]
        current.from = cursor
        clamp()
      } else {
        const events = event.getCoalescedEvents?.() || []
        for (const one of events.length ? events : [event]) {
          const point = inside(place(one)), last = current.points.at(-1)
          if (Math.hypot(point[0] - last[0], point[1] - last[1]) > scale()) current.points.push(point)
        }
      }
    }
    redraw()
  })
  const end = (event) => {
    if (!current || current.pointer !== event.pointerId) return
    const { id, tool: used, radius: size, points } = current
    if (used !== "move" && event.type === "pointerup") {
      strokes.push(current)
      model.send_msg({ kind: "stroke", id, tool: used, radius: size, points: points.flat().map((v) => Math.round(10 * v) / 10) })
    }
    current = null
    redraw()
  }
  view.addEventListener("pointerup", end)
  view.addEventListener("pointercancel", end)
  view.addEventListener("pointerleave", () => { cursor = null; redraw() })
  view.addEventListener("wheel", (event) => {
    if (!scene) return
    event.preventDefault()
    zoomed(Math.exp(-event.deltaY / 400), place(event))
  }, { passive: false })
  view.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return
    event.preventDefault()
    model.send_msg({ kind: event.shiftKey ? "redo" : "undo" })
  })
  undo.addEventListener("click", () => model.send_msg({ kind: "undo" }))
  redo.addEventListener("click", () => model.send_msg({ kind: "redo" }))
  find(".in").addEventListener("click", () => zoomed(1.5, middle()))
  find(".out").addEventListener("click", () => zoomed(1 / 1.5, middle()))
  find(".whole").addEventListener("click", () => zoomed(0, middle()))
  range.addEventListener("input", redraw)
  new ResizeObserver(() => { if (scene) { clamp(); redraw() } }).observe(view)
  choose("brush")
  open()
  return root
}
