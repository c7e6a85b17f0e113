/* Any bytes as a shard's manifest, under a header that is right: it is refused by a line, or what was read is
 * in order, and is the same after it has been written and read again. The first byte says whose manifest it
 * is. */
#include "weights/shard.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { DATA_BYTES = 8 << 20, MANIFEST_BYTES_MAX = 4 << 20, PAGE_BYTES = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_part(const es_shard_unit *unit, const es_shard_part *part)
{
    ES_ASSERT(part->rows > 0 && part->cols > 0 && part->row_phase < 128 && part->col_phase < 128);
    ES_ASSERT(part->at <= unit->bytes && part->bytes <= unit->bytes - part->at);
    ES_ASSERT(part->format != ES_FORMAT_FP8 || part->scales_at < unit->bytes);
}

static void check(const es_shard *shard)
{
    uint64_t end = ES_SHARD_PAGE_BYTES;
    for (size_t i = 0; i < shard->unit_count; i++) {
        const es_shard_unit *unit = &shard->units[i];
        ES_ASSERT(unit->name != NULL && unit->part_count > 0 && unit->offset >= end);
        ES_ASSERT(unit->bytes > 0 && unit->offset + unit->bytes <= shard->data_bytes);
        end = unit->offset + unit->bytes;
        for (size_t p = 0; p < unit->part_count; p++) check_part(unit, &unit->parts[p]);
    }
}

/* A file of this header, DATA_BYTES of nothing and this manifest, whose end is the end of what may be read.
 */
static const uint8_t *make_file(const es_shard *shard, const char *manifest, size_t bytes)
{
    static uint8_t *end;
    if (end == NULL) {
        size_t room = DATA_BYTES + MANIFEST_BYTES_MAX;
        uint8_t *all = mmap(NULL, room + PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ES_ASSERT(all != MAP_FAILED && mprotect(all, room, PROT_READ | PROT_WRITE) == 0);
        end = all + room;
    }
    ES_ASSERT(bytes <= MANIFEST_BYTES_MAX);
    es_shard_header(shard, manifest, bytes, end - bytes - DATA_BYTES);
    memcpy(end - bytes, manifest, bytes);
    return end - bytes - DATA_BYTES;
}

/* false when the manifest was refused. */
static bool parse(const es_shard *like, const char *manifest, size_t bytes, es_arena *arena,
                  es_shard *ret_shard)
{
    const uint8_t *file = make_file(like, manifest, bytes);
    es_err err = {ES_OK, ""};
    es_status status = es_shard_parse("fuzz.shard", file, DATA_BYTES + bytes, arena, ret_shard, &err);
    ES_ASSERT(status == err.status && (status == ES_OK || err.text[0] != '\0'));
    return status == ES_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > MANIFEST_BYTES_MAX / 4) return 0;
    bool experts = data[0] % 2 != 0;
    const es_shard like = {
        .kind = experts ? ES_SHARD_EXPERTS : ES_SHARD_COORDINATOR, .count = 2, .data_bytes = DATA_BYTES};
    es_arena *arena = es_arena_create();
    ES_ASSERT(arena != NULL);
    es_shard shard, again;
    if (parse(&like, (const char *)data + 1, size - 1, arena, &shard)) {
        check(&shard);
        size_t bytes, bytes_again;
        char *text = es_shard_manifest(&shard, &bytes);
        ES_ASSERT(text != NULL && parse(&like, text, bytes, arena, &again));
        char *text_again = es_shard_manifest(&again, &bytes_again);
        ES_ASSERT(text_again != NULL && bytes == bytes_again && memcmp(text, text_again, bytes) == 0);
        free(text);
        free(text_again);
    }
    es_arena_destroy(&arena);
    return 0;
}
