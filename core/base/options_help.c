/* The text of --help, and the reference, from the same table that parses. */
#include "base/options.h"

#include "base/size.h"

#include <ctype.h>
#include <string.h>

enum { WIDTH = 88, LEFT_MAX = 26, TEXT_MAX = 512 };

/* "--experts N", "--rows q8|f32", "QUESTION". */
static void write_left(const es_option *o, char out[TEXT_MAX])
{
    int at = snprintf(out, TEXT_MAX, "%s", o->name);
    if (o->positional || o->kind == ES_OPTION_FLAG) return;
    if (o->kind != ES_OPTION_CHOICE) {
        snprintf(out + at, (size_t)(TEXT_MAX - at), " %s", o->argument != NULL ? o->argument : "TEXT");
        return;
    }
    for (int i = 0; o->choices[i] != NULL && at < TEXT_MAX; i++)
        at += snprintf(out + at, (size_t)(TEXT_MAX - at), "%c%s", i == 0 ? ' ' : '|', o->choices[i]);
}

/* Adds "; fact" or, for the first, " (fact" to out; true: something stands in the brackets. */
static bool add_fact(char out[TEXT_MAX], bool any, const char *before, const char *fact, const char *after)
{
    size_t used = strlen(out);
    snprintf(out + used, TEXT_MAX - used, "%s%s%s%s%s", any ? "; " : " (", before, fact, after[0] ? " " : "",
             after);
    return true;
}

/* What the table knows beyond the help text: range, unit, default, whether it is required or may be repeated.
 */
static void write_right(const es_option *o, char out[TEXT_MAX])
{
    char range[64] = "";
    if (o->kind == ES_OPTION_COUNT && o->max != 0)
        snprintf(range, sizeof range, "%zu to %zu", o->min, o->max);
    if (o->kind == ES_OPTION_COUNT && o->max == 0 && o->min != 0)
        snprintf(range, sizeof range, "at least %zu", o->min);
    if (o->kind == ES_OPTION_REAL && (o->real_min != 0 || o->real_max != 0))
        snprintf(range, sizeof range, "%g to %g", o->real_min, o->real_max);
    const char *unit = o->unit != NULL ? o->unit : "";
    snprintf(out, TEXT_MAX, "%s", o->help);
    bool any = false;
    if (o->required) any = add_fact(out, any, "", "required", "");
    if (o->kind == ES_OPTION_LIST) any = add_fact(out, any, "", "may be repeated", "");
    if (range[0] != '\0') any = add_fact(out, any, "", range, unit);
    if (o->initial != NULL)
        any = add_fact(out, any, "default ", o->initial, unit);
    else if (o->fallback != NULL)
        any = add_fact(out, any, "default: ", o->fallback, "");
    if (any) snprintf(out + strlen(out), TEXT_MAX - strlen(out), ")");
}

/* Writes text broken at spaces so that no line passes WIDTH; the cursor stands at column indent, further
 * lines start there. */
static void write_wrapped(const char *text, size_t indent, FILE *out)
{
    size_t column = indent;
    while (*text != '\0') {
        size_t spaces = strspn(text, " ");
        size_t word = strcspn(text + spaces, " \n");
        bool newline = text[spaces] == '\n';
        if (newline || (column > indent && column + spaces + word > WIDTH)) {
            fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
            text += newline ? spaces + 1 : spaces;
            continue;
        }
        if (column == indent) {
            text += spaces;
            spaces = 0;
        }
        fprintf(out, "%.*s", (int)(spaces + word), text);
        column += spaces + word;
        text += spaces + word;
    }
    fputc('\n', out);
}

static void write_row(const char *left, const char *right, size_t left_width, FILE *out)
{
    size_t indent = left_width + 4;
    fprintf(out, "  %s", left);
    if (strlen(left) > left_width)
        fprintf(out, "\n%*s", (int)indent, "");
    else
        fprintf(out, "%*s", (int)(indent - 2 - strlen(left)), "");
    write_wrapped(right, indent, out);
}

static size_t left_width(const es_command *command)
{
    size_t width = strlen("--help");
    for (size_t s = 0; s < command->set_count; s++)
        for (size_t i = 0; i < command->sets[s].count; i++) {
            char left[TEXT_MAX];
            write_left(&command->sets[s].options[i], left);
            if (strlen(left) <= LEFT_MAX) width = es_size_max(width, strlen(left));
        }
    return width;
}

/* "Usage: essaim run --model DIR [options] QUESTION" */
static void write_usage(const es_command *command, const char *program, FILE *out)
{
    fprintf(out, "Usage: %s", program);
    if (command->name != NULL) fprintf(out, " %s", command->name);
    for (int positional = 0; positional < 2; positional++) {
        for (size_t s = 0; s < command->set_count; s++)
            for (size_t i = 0; i < command->sets[s].count; i++) {
                const es_option *o = &command->sets[s].options[i];
                if (o->positional != (positional == 1) || (!o->positional && !o->required)) continue;
                char left[TEXT_MAX];
                write_left(o, left);
                const char *more = o->kind == ES_OPTION_LIST && o->positional ? "…" : "";
                fprintf(out, o->required ? " %s%s" : " [%s%s]", left, more);
            }
        if (positional == 0) fputs(" [options]", out);
    }
    fputc('\n', out);
}

void es_options_write_help(const es_command *command, const char *program, FILE *out)
{
    fprintf(out, "%s%s%s: %s\n\n", program, command->name != NULL ? " " : "",
            command->name != NULL ? command->name : "", command->summary);
    write_usage(command, program, out);
    if (command->about != NULL) {
        fputc('\n', out);
        write_wrapped(command->about, 0, out);
    }
    size_t width = left_width(command);
    for (size_t s = 0; s < command->set_count; s++) {
        fprintf(out, "\n%s:\n", command->sets[s].heading);
        for (size_t i = 0; i < command->sets[s].count; i++) {
            char left[TEXT_MAX], right[TEXT_MAX];
            write_left(&command->sets[s].options[i], left);
            write_right(&command->sets[s].options[i], right);
            write_row(left, right, width, out);
        }
    }
    fputs("\nHelp:\n", out);
    write_row("--help", "prints this", width, out);
    if (command->example_count > 0) fputs("\nExamples:\n", out);
    for (size_t i = 0; i < command->example_count; i++) {
        fprintf(out, "  %s\n", command->examples[i].line);
        if (command->examples[i].meaning == NULL) continue;
        fputs("      ", out);
        write_wrapped(command->examples[i].meaning, 6, out);
    }
}

/* Text with its marks escaped, and addresses as code; or all of it as code. */
static void write_inline(const char *text, bool code, FILE *out)
{
    while (*text != '\0') {
        bool url = !code && (strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0);
        size_t bytes = url ? strcspn(text, " ),;") : 1;
        bool mark = !url && (*text == '|' || (!code && strchr("<*_[", *text) != NULL));
        fprintf(out, mark ? "\\%.*s" : url ? "`%.*s`" : "%.*s", (int)bytes, *text == '\n' ? " " : text);
        text += bytes;
    }
}

/* "Text" for "text". */
static void write_capitalised(const char *text, FILE *out)
{
    fputc(toupper((unsigned char)text[0]), out);
    write_inline(text + 1, false, out);
}

void es_options_write_markdown(const es_command *command, const char *program, FILE *out)
{
    if (command->name != NULL) {
        fprintf(out, "\n## %s %s\n\n", program, command->name);
        write_capitalised(command->summary, out);
        fputs(".\n", out);
    }
    fputs("\n    ", out);
    write_usage(command, program, out);
    if (command->about != NULL) {
        fputc('\n', out);
        write_wrapped(command->about, 0, out);
    }
    for (size_t s = 0; s < command->set_count; s++) {
        fprintf(out, "\n| %s | |\n|---|---|\n", command->sets[s].heading);
        for (size_t i = 0; i < command->sets[s].count; i++) {
            char left[TEXT_MAX], right[TEXT_MAX];
            write_left(&command->sets[s].options[i], left);
            write_right(&command->sets[s].options[i], right);
            fputs("| `", out);
            write_inline(left, true, out);
            fputs("` | ", out);
            write_inline(right, false, out);
            fputs(" |\n", out);
        }
    }
    for (size_t i = 0; i < command->example_count; i++) {
        const es_example *e = &command->examples[i];
        if (e->meaning != NULL) {
            fputc('\n', out);
            write_capitalised(e->meaning, out);
            fputs(":\n", out);
        }
        fprintf(out, "\n    %s\n", e->line);
    }
}
