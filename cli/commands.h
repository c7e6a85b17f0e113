/* The commands of `essaim`, one file each. */
#ifndef ES_CLI_COMMANDS_H
#define ES_CLI_COMMANDS_H

#include "base/options.h"

extern const es_command CLI_RUN, CLI_CHAT, CLI_UP, CLI_SCORE, CLI_SHARD, CLI_SYNTH, CLI_TOKENIZE,
    CLI_TEMPLATE, CLI_INSPECT, CLI_KEYGEN, CLI_BENCH, CLI_PLAN, CLI_PLACEMENT, CLI_STATUS, CLI_TOP, CLI_TOKEN,
    CLI_JOIN, CLI_REVOKE, CLI_VERSION;

#endif
