package bench

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// Sizes of a plot, in pixels.
const (
	plotWidth  = 860
	plotLeft   = 250 // labels end here
	plotBar    = 14
	plotPitch  = 20
	plotTitle  = 34
	plotMargin = 24
	plotValue  = 130 // room for the figure behind a bar
)

// wide is from where on the largest and the smallest of a panel are drawn by
// their logarithms: on a plain scale the smallest would be no bar at all.
const wide = 20

// panel is the bars of one workload.
type panel struct {
	title string
	bars  []bar
}

type bar struct {
	label, value string
	length       float64 // the figure
	system       string
	durable      bool
}

// WriteSVG draws the medians: a panel a workload, a bar a system or a size. Text
// is text, so that it can be searched and read aloud.
func (r *Report) WriteSVG(w io.Writer) error {
	var b strings.Builder
	height := plotMargin
	panels := r.panels()
	for _, p := range panels {
		height += plotTitle + len(p.bars)*plotPitch
	}
	height += 3 * plotMargin
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" font-family="system-ui, sans-serif" font-size="12">`+"\n", plotWidth, height, plotWidth, height)
	fmt.Fprintf(&b, "<title>%s</title>\n", escape("How fast: medians of bus bench"))
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", plotWidth, height)
	y := plotMargin
	for i := range panels {
		y = panels[i].draw(&b, y)
	}
	r.footer(&b, y+plotMargin)
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// panels gathers what belongs together.
func (r *Report) panels() []panel {
	var all []panel
	last := ""
	for i := range r.Results {
		res := &r.Results[i]
		if res.Name != last {
			all = append(all, panel{title: res.Title + caption(res)})
			last = res.Name
		}
		value, text := res.shown()
		label := res.System + ", " + res.Setup
		if res.Size != "" {
			label = res.Size
		}
		p := &all[len(all)-1]
		p.bars = append(p.bars, bar{label: label, value: text, length: value, system: res.System, durable: res.Durability == yes})
	}
	return all
}

func caption(r *Result) string {
	switch r.Shown {
	case "p50":
		return " (p50, less is better)"
	case "memory":
		return " (memory of one, less is better)"
	}
	return " (" + r.Unit + ")"
}

// draw returns where the next one begins.
func (p *panel) draw(b *strings.Builder, y int) int {
	scale, logarithmic := p.scale()
	title := p.title
	if logarithmic {
		title += ", logarithmic scale"
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" font-weight="600" fill="#222">%s</text>`+"\n", plotMargin, y+16, escape(title))
	y += plotTitle - 8
	for _, one := range p.bars {
		length := scale(one.length)
		fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end" fill="#444">%s</text>`, plotLeft-8, y+plotBar-3, escape(one.label))
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.1f" height="%d" rx="2" fill="%s"/>`, plotLeft, y, length, plotBar, one.colour())
		fmt.Fprintf(b, `<text x="%.1f" y="%d" fill="#222">%s</text>`+"\n", plotLeft+length+6, y+plotBar-3, escape(one.value))
		y += plotPitch
	}
	return y + 8
}

// scale returns how long a bar is drawn.
func (p *panel) scale() (length func(float64) float64, logarithmic bool) {
	const room = plotWidth - plotLeft - plotValue
	byLength := func(a, b bar) int { return cmp.Compare(a.length, b.length) }
	most := slices.MaxFunc(p.bars, byLength).length
	least := slices.MinFunc(p.bars, byLength).length
	if most <= 0 {
		return func(float64) float64 { return 0 }, false
	}
	if least <= 0 || most/least < wide {
		return func(v float64) float64 { return room * max(v, 0) / most }, false
	}
	floor := math.Floor(math.Log10(least))
	decades := math.Log10(most) - floor
	return func(v float64) float64 { return room * max(math.Log10(v)-floor, 0.02) / decades }, true
}

// colour is full for what is durable, and pale for what is not.
func (b *bar) colour() string {
	colours := map[string][2]string{"bus": {"#1f6feb", "#a5c8ff"}, "nats": {"#2f855a", "#a8d8bf"}, "redis": {"#c05621", "#f3c6a5"}}
	pair, known := colours[b.system]
	if !known {
		pair = [2]string{"#555", "#bbb"}
	}
	if b.durable {
		return pair[0]
	}
	return pair[1]
}

func (r *Report) footer(b *strings.Builder, y int) {
	m := &r.Machine
	lines := []string{
		"full colour: the answer comes after the data is on stable storage; pale: before",
		fmt.Sprintf("%s; medians of %d", m, r.Config.Runs),
	}
	for i, line := range lines {
		fmt.Fprintf(b, `<text x="%d" y="%d" fill="#666">%s</text>`+"\n", plotMargin, y+i*18, escape(line))
	}
}

// escape makes text of any origin text in XML.
func escape(s string) string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0xfffe || r == 0xffff {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;").Replace(clean)
}
