"""Line charts as SVG, by the standard library alone."""
import html
import math

COLOURS = ["#1f5fa8", "#c0392b", "#2e8b57", "#8e44ad", "#b8860b", "#444444"]
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 32, 44


def ticks(low, high, logarithmic):
    if logarithmic:
        step = max(1, round((math.log2(high) - math.log2(low)) / 9))
        return [2.0**k for k in range(math.ceil(math.log2(low) - 1e-9), math.floor(math.log2(high) + 1e-9) + 1, step)]
    unit = 10.0 ** math.floor(math.log10((high - low) or 1.0))
    step = next(unit * f for f in (0.1, 0.2, 0.5, 1, 2) if (high - low) / (unit * f) <= 8)
    return [k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def number(value):
    return f"{value:g}" if value < 1e4 else f"{value:.0f}"


def panel(title, x_title, y_title, series, x0, width, height, log_y=False):
    """SERIES: (name, [(x, y), ...]) each; x is on a logarithmic axis. A panel at X0 of WIDTH x HEIGHT."""
    points = [p for _, line in series for p in line]
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    low_x, high_x = min(xs), max(max(xs), 2 * min(xs))
    low_y, high_y = (min(ys) / 1.2, max(ys) * 1.2) if log_y else (0.0, max(ys) * 1.1)

    def place(x, y):
        across = math.log(x / low_x) / math.log(high_x / low_x)
        up = math.log(y / low_y) / math.log(high_y / low_y) if log_y else (y - low_y) / (high_y - low_y)
        return x0 + LEFT + across * (width - LEFT - RIGHT), height - BOTTOM - up * (height - TOP - BOTTOM)

    out = [f'<text x="{x0 + width / 2}" y="18" text-anchor="middle" font-weight="bold">{html.escape(title)}</text>']
    for x in ticks(low_x, high_x, True):
        at = place(x, high_y)[0]
        out.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{height - BOTTOM}" stroke="#ddd"/>')
        out.append(f'<text x="{at:.1f}" y="{height - BOTTOM + 16}" text-anchor="middle">{number(x)}</text>')
    for y in ticks(low_y, high_y, log_y):
        at = place(low_x, y)[1]
        out.append(f'<line x1="{x0 + LEFT}" x2="{x0 + width - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{x0 + LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{number(y)}</text>')
    for k, (name, line) in enumerate(series):
        colour = COLOURS[k % len(COLOURS)]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in (place(*p) for p in line))
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in (place(*p) for p in line)]
        y = TOP + 14 + 15 * k
        out.append(f'<text x="{x0 + width - RIGHT - 6}" y="{y}" text-anchor="end" fill="{colour}">{html.escape(name)}</text>')
    out.append(f'<text x="{x0 + width / 2}" y="{height - 8}" text-anchor="middle">{html.escape(x_title)}</text>')
    middle = (TOP + height - BOTTOM) / 2
    out.append(f'<text transform="translate({x0 + 14} {middle}) rotate(-90)" text-anchor="middle">{html.escape(y_title)}</text>')
    return out


def write(path, panels, width=460, height=340):
    """PANELS: the arguments of panel from TITLE to SERIES each, side by side."""
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width * len(panels)} {height}" '
             'font-family="sans-serif" font-size="12">', '<rect width="100%" height="100%" fill="white"/>']
    for k, given in enumerate(panels):
        lines += panel(*given[:4], k * width, width, height, *given[4:])
    path.write_text("\n".join(lines + ["</svg>", ""]))
