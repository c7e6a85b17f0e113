/* A program as a list of commands. */
#include "base/program.h"

#include "base/bus_error.h"
#include "base/log.h"
#include "base/size.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { COMMANDS_MAX = 32 };

/* Who reads JSON reads nothing else. */
static void tell(const es_program *program, const es_command *command, const char *text)
{
    if (es_log_get_format() == ES_LOG_JSON) {
        es_log_event(ES_LOG_ERROR, "main", NULL, 0, "%s", text);
        return;
    }
    const char *name = command != NULL && command->name != NULL ? command->name : NULL;
    fprintf(stderr, "%s%s%s: %s\n", program->name, name != NULL ? " " : "", name != NULL ? name : "", text);
}

static void write_overview(const es_program *program, FILE *out)
{
    fprintf(out, "%s: %s\n\nUsage: %s COMMAND [options]\n\nCommands:\n", program->name, program->summary,
            program->name);
    size_t width = 0;
    for (size_t i = 0; i < program->command_count; i++)
        width = es_size_max(width, strlen(program->commands[i].name));
    for (size_t i = 0; i < program->command_count; i++)
        fprintf(out, "  %-*s  %s\n", (int)width, program->commands[i].name, program->commands[i].summary);
    fprintf(out, "\n'%s COMMAND --help' tells a command's options.\n", program->name);
}

static const es_command *command_named(const es_program *program, const char *name)
{
    for (size_t i = 0; i < program->command_count; i++)
        if (strcmp(program->commands[i].name, name) == 0) return &program->commands[i];
    return NULL;
}

static int unknown_command(const es_program *program, const char *word)
{
    const char *names[COMMANDS_MAX];
    ES_ASSERT(program->command_count <= COMMANDS_MAX);
    for (size_t i = 0; i < program->command_count; i++) names[i] = program->commands[i].name;
    const char *nearest = es_options_nearest(word, names, program->command_count);
    es_err err;
    if (nearest != NULL)
        es_err_set(&err, ES_INVALID, "unknown command '%s'; did you mean '%s'?", word, nearest);
    else
        es_err_set(&err, ES_INVALID, "unknown command '%s'; '%s --help' lists them", word, program->name);
    tell(program, NULL, err.text);
    return ES_EXIT_USAGE;
}

/* What was printed is lost when the disk is full or the reader is gone: that is a failure too. */
static int close_output(const es_program *program, const es_command *command, int code)
{
    const char *reason = fflush(stdout) != 0 ? strerror(errno) : "not all of it could be written";
    if (code != ES_EXIT_OK || !ferror(stdout)) return code; /* what failed first has been told */
    es_err err;
    es_err_set(&err, ES_IO, "standard output: %s", reason);
    tell(program, command, err.text);
    return ES_EXIT_FAILED;
}

static int run_command(const es_program *program, const es_command *command, int argc, char *const *argv)
{
    es_err err = {.status = ES_OK};
    es_bus_error_start();
    void *values = calloc(1, es_size_max(command->values_bytes, 1));
    if (values == NULL) {
        tell(program, command, es_status_describe(ES_NO_MEMORY)->text);
        return ES_EXIT_FAILED;
    }
    bool help;
    int code = ES_EXIT_OK;
    if (es_options_parse(command, argc, argv, values, &help, &err) != ES_OK) {
        tell(program, command, err.text);
        code = ES_EXIT_USAGE;
    } else if (help) {
        es_options_write_help(command, program->name, stdout);
    } else if (command->run(values, &err) != ES_OK) {
        fflush(stdout);
        bool told = err.text[0] == '\0';
        if (!told) tell(program, command, err.text);
        code = told && command->told_code != 0 ? command->told_code : ES_EXIT_FAILED;
    }
    free(values);
    return close_output(program, command, code);
}

/* The program's page of docs/reference, which ./dev reference writes. */
static void write_reference(const es_program *program, FILE *out)
{
    fprintf(out, "# %s\n\n`%s`: %s. Written by `./dev reference` from the tables that parse the options.\n",
            program->name, program->name, program->summary);
    for (size_t i = 0; i < program->command_count; i++)
        es_options_write_markdown(&program->commands[i], program->name, out);
}

int es_program_main(const es_program *program, int argc, char *const *argv)
{
    const char *word = argc > 1 ? argv[1] : NULL;
    if (word != NULL && strcmp(word, "--help-markdown") == 0 && argc == 2) {
        write_reference(program, stdout);
        return close_output(program, NULL, ES_EXIT_OK);
    }
    if (word != NULL && strcmp(word, "--version") == 0) {
        printf("%s %s\n", program->name, program->version);
        return close_output(program, NULL, ES_EXIT_OK);
    }
    if (program->command_count == 1 && program->commands[0].name == NULL)
        return run_command(program, &program->commands[0], argc > 1 ? argc - 1 : 0, argv + 1);
    if (word == NULL) {
        write_overview(program, stderr);
        return ES_EXIT_USAGE;
    }
    bool help = strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
    if (help && argc == 2) {
        write_overview(program, stdout);
        return close_output(program, NULL, ES_EXIT_OK);
    }
    const es_command *command = command_named(program, help ? argv[2] : word);
    if (command == NULL) return unknown_command(program, help ? argv[2] : word);
    if (help) {
        es_options_write_help(command, program->name, stdout);
        return close_output(program, command, ES_EXIT_OK);
    }
    return run_command(program, command, argc - 2, argv + 2);
}
