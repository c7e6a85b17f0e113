/* The embedded registry's folder: registry.json, and beside it the placement that it points to. */
#ifndef ES_CLUSTER_EMBEDDED_FILE_H
#define ES_CLUSTER_EMBEDDED_FILE_H

#include "cluster/registry.h"

typedef struct es_embedded_token {
    uint8_t hash[ES_TOKEN_HASH_BYTES];
    uint64_t until_s; /* of the clock on the wall */
} es_embedded_token;

/* What registry.json holds. */
typedef struct es_embedded_state {
    size_t node_count, revoked_count, token_count;
    es_node_record nodes[ES_REGISTRY_NODES_MAX];
    char revoked[ES_REGISTRY_REVOKED_MAX][ES_KEY_TEXT_BYTES];
    es_embedded_token tokens[ES_REGISTRY_TOKENS_MAX];
    es_epoch epoch; /* {0, 0}: no placement */
    uint8_t placement_hash[32];
} es_embedded_state;

/* The file's text, malloc'd and yours; NULL when memory is short. */
char *es_embedded_state_write(const es_embedded_state *state);

/* Strictly back: ES_CORRUPT names where and the field, or that the checksum does not match. */
es_status es_embedded_state_parse(const char *where, const char *text, size_t bytes,
                                  es_embedded_state *ret_state, es_err *err);

/* Reads folder/registry.json. ES_NOT_FOUND: there is none. */
es_status es_embedded_state_load(const char *folder, es_embedded_state *ret_state, es_err *err);

/* Writes it so that after a crash the old or the new one is there, whole. */
es_status es_embedded_state_save(const char *folder, const es_embedded_state *state, es_err *err);

/* Replaces a file of the folder; synced: the new one outlives a crash of the machine. */
es_status es_embedded_file_replace(const char *folder, const char *name, const char *text, size_t bytes,
                                   bool synced, es_err *err);

/* As the state, for the placement's file of an epoch. */
es_status es_embedded_placement_save(const char *folder, es_epoch epoch, const char *text, size_t bytes,
                                     es_err *err);
es_status es_embedded_placement_load(const char *folder, es_epoch epoch, const uint8_t hash[32],
                                     es_document **ret_document, es_err *err);
void es_embedded_placement_remove(const char *folder, es_epoch epoch);

#endif
