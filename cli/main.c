/* essaim: the command-line program. */
#include "base/program.h"
#include "cli/commands.h"

int main(int argc, char **argv)
{
    const es_command commands[] = {CLI_RUN,   CLI_CHAT,     CLI_UP,       CLI_SCORE,     CLI_SHARD,
                                   CLI_SYNTH, CLI_TOKENIZE, CLI_TEMPLATE, CLI_INSPECT,   CLI_KEYGEN,
                                   CLI_BENCH, CLI_PLAN,     CLI_DOCTOR,   CLI_PLACEMENT, CLI_NODE,
                                   CLI_TOKEN, CLI_JOIN,     CLI_DRAIN,    CLI_REVOKE,    CLI_STATUS,
                                   CLI_TOP,   CLI_TRACE,    CLI_VERSION};
    const es_program program = {
        .name = "essaim",
        .version = ESSAIM_VERSION,
        .summary = "run DeepSeek-R1 on a swarm of ordinary machines",
        .commands = commands,
        .command_count = sizeof commands / sizeof commands[0],
    };
    return es_program_main(&program, argc, argv);
}
