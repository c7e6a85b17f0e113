/* A command's words: one table of options gives parsing, validation and the text of --help. */
#ifndef ES_BASE_OPTIONS_H
#define ES_BASE_OPTIONS_H

#include "essaim/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { ES_OPTIONS_MAX = 64, ES_OPTION_LIST_MAX = 256 };

/* What an option's value is, and the type of the field it is bound to. */
typedef enum es_option_kind {
    ES_OPTION_TEXT,   /* const char *, borrowed from argv; NULL: not given */
    ES_OPTION_COUNT,  /* size_t: digits only, within min and max */
    ES_OPTION_REAL,   /* double: finite, within real_min and real_max */
    ES_OPTION_CHOICE, /* int, or an enum that counts from 0: the index in choices */
    ES_OPTION_FLAG,   /* bool: given or not; takes no value */
    ES_OPTION_LIST    /* es_option_list: may be given again and again */
} es_option_kind;

/* Values of a repeated option in the order given, borrowed from argv. */
typedef struct es_option_list {
    const char *item[ES_OPTION_LIST_MAX];
    size_t count;
} es_option_list;

/* One option. Every field that is left out is off. */
typedef struct es_option {
    const char *name; /* "--model"; for a positional its placeholder: "QUESTION" */
    es_option_kind kind;
    const char *argument; /* placeholder in --help: "DIR"; flags, choices and positionals need none */
    const char *help;     /* lower case, no full stop; says what the value means */
    size_t at;            /* offset of the field in the set's struct */
    size_t given_at; /* offset of a bool: did the user say it; 0: nobody asks, so it is never a struct's first
                        field */
    bool positional; /* by place, in table order; a LIST takes all that remain. TEXT or LIST only */
    bool required;
    const char *initial;        /* the default, written as a user would; NULL: zero, NULL, false or empty */
    const char *fallback;       /* what --help calls the default when initial is NULL: "the model's own" */
    const char *unit;           /* of a COUNT or REAL in --help: "ms", "tokens" */
    size_t min, max;            /* COUNT, inclusive; max 0: no upper bound */
    double real_min, real_max;  /* REAL, inclusive; both 0: any finite value */
    const char *const *choices; /* CHOICE: names, then NULL */
} es_option;

/* Options bound to one struct, so that commands can share a set. */
typedef struct es_option_set {
    const char *heading; /* in --help: "Sampling" */
    const es_option *options;
    size_t count;
    size_t at; /* offset of that struct in the command's values */
} es_option_set;

typedef struct es_example {
    const char *line;    /* as typed, the program's name included */
    const char *meaning; /* what it does; NULL: it speaks for itself */
} es_example;

/* A command: tables and functions, all const and borrowed for good. */
typedef struct es_command {
    const char *name;    /* "run"; NULL: the program itself takes the options */
    const char *summary; /* one line, lower case, no full stop */
    const char *about;   /* paragraphs for --help, or NULL */
    const es_option_set *sets;
    size_t set_count;
    const es_example *examples;
    size_t example_count;
    size_t values_bytes; /* of the struct the sets are bound to */
    int told_code;       /* exit code when run gives an error without text; 0: as for every error */

    /* Looks at options together ("--port needs --listen"): what it refuses is a usage error. May be NULL. */
    es_status (*check)(const void *values, es_err *err);

    /* Does the work. values are const, and gone when it returns. An error without text is one that was told
     * already. */
    es_status (*run)(const void *values, es_err *err);
} es_command;

/* Fills ret_values [values_bytes] with defaults, then with argv's words [argc], the program's and the
 * command's names not among them: "--name value", "--name=value", "--" (only positionals follow). *ret_help
 * is true when --help or -h is among them: nothing else was looked at then. Otherwise ES_INVALID names the
 * option and what is wrong with it. */
es_status es_options_parse(const es_command *command, int argc, char *const *argv, void *ret_values,
                           bool *ret_help, es_err *err);

/* Writes the text of --help: usage, summary, options aligned with their ranges and defaults, examples. */
void es_options_write_help(const es_command *command, const char *program, FILE *out);

/* The name [count] most like word, or NULL when none is near: for "did you mean". Borrowed from names. */
const char *es_options_nearest(const char *word, const char *const *names, size_t count);

#endif
