/* A forecast as a picture: the coordinator above, the nodes below, memory as filled bars. */
#include "cli/plan_report.h"

#include <math.h>

enum { BOX_W = 168, BOX_H = 96, GAP = 24, MARGIN = 32, COLUMNS = 6, TOP = 92 };

static void text(FILE *out, double x, double y, const char *class, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Text with XML's own characters replaced. */
static void text(FILE *out, double x, double y, const char *class, const char *format, ...)
{
    char line[256];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", x, y, class);
    for (const char *c = line; *c != '\0'; c++) {
        if (*c == '&')
            fputs("&amp;", out);
        else if (*c == '<')
            fputs("&lt;", out);
        else if (*c == '>')
            fputs("&gt;", out);
        else
            fputc(*c, out);
    }
    fputs("</text>\n", out);
}

static void box(const plan_report *r, size_t i, double x, double y, FILE *out)
{
    const es_machine *m = &r->question->machines[i];
    const es_forecast_machine *part = &r->forecast->machine[i];
    double filled = fmin(1, part->needs_bytes / (double)m->memory_bytes);
    fprintf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%d\" height=\"%d\" rx=\"10\" class=\"box%s\"/>\n", x, y,
            BOX_W, BOX_H, part->coordinates ? " own" : "");
    text(out, x + 12, y + 22, "name", "%.20s", m->name);
    if (part->experts > 0)
        text(out, x + 12, y + 40, "fact", "%.4g of %zu experts", part->experts, r->question->shape->experts);
    else
        text(out, x + 12, y + 40, "fact", "%s",
             part->coordinates ? "attention, routing, cache" : "not needed");
    text(out, x + 12, y + 56, "fact", "%.3g GB/s, %zu cores, %.3g Gbit/s", m->read_bytes_per_s / 1e9,
         m->cores, m->nic_bytes_per_s * 8 / 1e9);
    fprintf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%d\" height=\"8\" rx=\"4\" class=\"has\"/>\n", x + 12,
            y + 64, BOX_W - 24);
    fprintf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"8\" rx=\"4\" class=\"needs\"/>\n",
            x + 12, y + 64, filled * (BOX_W - 24));
    text(out, x + 12, y + 88, "fact", "%.1f of %.1f GB", part->needs_bytes / 1e9,
         (double)m->memory_bytes / 1e9);
}

static void header(const plan_report *r, double width, double height, FILE *out)
{
    const es_forecast *f = r->forecast;
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" "
            "height=\"%.0f\" role=\"img\">\n"
            "<style>text{font-family:system-ui,sans-serif;fill:#26221b}.title{font-size:18px;font-weight:600}"
            ".name{font-size:14px;font-weight:600}"
            ".fact{font-size:11px;fill:#6b6252}.box{fill:#fffdf8;stroke:#d9cfba}.own{fill:#fdf3d8;stroke:#"
            "d49a1f}.has{fill:#ece5d6}"
            ".needs{fill:#d49a1f}.link{stroke:#d9cfba;stroke-width:1.5;fill:none}</style>\n<rect "
            "width=\"100%%\" height=\"100%%\" fill=\"#faf7f0\"/>\n",
            width, height, width, height);
    text(out, MARGIN, 38, "title", "%s as %s, %s", r->model, es_format_describe(r->question->format)->name,
         f->fits ? es_layout_mode_name(f->mode) : "does not fit");
    if (f->fits)
        text(out, MARGIN, 60, "fact",
             "tokens/s: %.3g with 1 stream, %.3g with 8, %.3g with 64; first token of 1,024: %.3g s; limit: "
             "%s",
             f->speed[0].tokens_per_s, f->speed[1].tokens_per_s, f->speed[2].tokens_per_s,
             f->first_token_s[0], es_bottleneck_name(f->speed[0].bottleneck));
    else
        text(out, MARGIN, 60, "fact", "%s", f->why);
}

/* Where the box stands that is at in its order, the first row beginning at first. */
static double left_of(size_t at)
{
    return MARGIN + (double)(at % COLUMNS) * (BOX_W + GAP);
}

static double top_of(double first, size_t at)
{
    size_t row = at / COLUMNS;
    return first + (double)row * (BOX_H + GAP);
}

/* From the coordinator to a node of the first row; further down from the node above, whose network is the
 * same. */
static void link(double from, double first, size_t at, FILE *out)
{
    double x = left_of(at) + BOX_W / 2.0, y = top_of(first, at);
    if (at < COLUMNS)
        fprintf(out, "<path class=\"link\" d=\"M%.1f %d C%.1f %d %.1f %.1f %.1f %.1f\"/>\n", from,
                TOP + BOX_H, from, TOP + BOX_H + 40, x, y - 40, x, y);
    else
        fprintf(out, "<path class=\"link\" d=\"M%.1f %.1f V%.1f\"/>\n", x, y - GAP, y);
}

void plan_report_svg(const plan_report *r, FILE *out)
{
    size_t count = r->question->machine_count, own = r->forecast->fits ? r->forecast->coordinator : SIZE_MAX;
    size_t below = own == SIZE_MAX ? count : count - 1, rows = (below + COLUMNS - 1) / COLUMNS;
    size_t columns = below < COLUMNS ? (below > 4 ? below : 4) : COLUMNS;
    double width = (double)(2 * MARGIN + (int)columns * (BOX_W + GAP) - GAP),
           first = own == SIZE_MAX ? TOP : TOP + BOX_H + 56;
    header(r, width, first + (double)rows * (BOX_H + GAP) + MARGIN - GAP, out);
    double own_x = (width - BOX_W) / 2;
    for (size_t at = 0; at < below && own != SIZE_MAX; at++) link(own_x + BOX_W / 2.0, first, at, out);
    if (own != SIZE_MAX) box(r, own, own_x, TOP, out);
    for (size_t i = 0, at = 0; i < count; i++) {
        if (i == own) continue;
        box(r, i, left_of(at), top_of(first, at), out);
        at++;
    }
    fputs("</svg>\n", out);
}
