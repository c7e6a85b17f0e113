/* Any bytes as a file of API keys: refused with a line's number, or every key that was read is found. */
#include "http/client_keys.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), *again = malloc(size + 1);
    ES_ASSERT(text != NULL && again != NULL);
    if (size > 0) memcpy(text, data, size);
    text[size] = '\0';
    memcpy(again, text, size + 1);
    es_client_keys *keys = NULL;
    es_err err = {ES_OK, ""};
    es_status status = es_client_keys_parse(text, size, "keys", &keys, &err);
    for (size_t i = 0; i < size; i++) ES_ASSERT(text[i] == 0);
    ES_ASSERT((status == ES_OK) == (keys != NULL));
    if (keys == NULL) {
        ES_ASSERT(strncmp(err.text, "keys: ", 6) == 0);
    } else {
        size_t found = 0;
        es_client client;
        for (char *rest, *word = strtok_r(again, " \t\r\n", &rest); word != NULL;
             word = strtok_r(NULL, " \t\r\n", &rest))
            found += es_client_keys_find(keys, word, &client);
        ES_ASSERT(found >= es_client_keys_count(keys) && client.name[0] != '\0');
    }
    es_client_keys_destroy(&keys);
    free(text);
    free(again);
    return 0;
}
