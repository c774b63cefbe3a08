"""picture.py: what the reports of the benches share: spreads, cells of tables, SVG."""
import collections
import statistics

Spread = collections.namedtuple("Spread", "middle low high")


def spread(values):
    return Spread(statistics.median(values), min(values), max(values)) if values else None


# --- Text --------------------------------------------------------------------------------

def short(value):
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def cell(found, scale=1.0):
    if not found:
        return "-"
    middle, low, high = (short(value / scale) for value in found)
    return middle if low == high else f"{middle} [{low}-{high}]"


def aligned(lines):
    """Lines of cells, as a table."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip()
                     for line in lines) + "\n"


# --- SVG ---------------------------------------------------------------------------------

class Picture:
    def __init__(self, width, height):
        self.parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
                      f'width="{width}" height="{height}" font-family="sans-serif" font-size="11">',
                      f'<rect width="{width}" height="{height}" fill="white"/>']

    def line(self, x1, y1, x2, y2, colour, width=1.0, more=""):
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
                          f'stroke="{colour}" stroke-width="{width}" {more}/>')

    def text(self, x, y, text, anchor="start", more=""):
        text = text.replace("&", "&amp;").replace("<", "&lt;")
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{text}</text>')

    def mark(self, x, y, shape, colour):
        """One shape a contestant, so that colours are not all there is to tell them by."""
        r = 3.6
        outlines = {
            "square": f"M{x-r:.1f} {y-r:.1f}h{2*r}v{2*r}h{-2*r}z",
            "diamond": f"M{x:.1f} {y-r-1:.1f}l{r+1} {r+1}l{-r-1} {r+1}l{-r-1} {-r-1}z",
            "up": f"M{x:.1f} {y-r-.6:.1f}l{r+.6} {2*r}h{-2*r-1.2}z",
            "down": f"M{x:.1f} {y+r+.6:.1f}l{r+.6} {-2*r}h{-2*r-1.2}z",
        }
        if shape in outlines:
            self.parts.append(f'<path d="{outlines[shape]}" fill="{colour}"/>')
        else:
            self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r+.4}" fill="{colour}"/>')

    def path(self, points, colour, width=1.5, more=""):
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{text}" fill="none" stroke="{colour}" '
                          f'stroke-width="{width}" {more}/>')

    def save(self, path):
        with open(path, "w") as file:
            file.write("\n".join(self.parts) + "\n</svg>\n")
