/* What the machine has, as the kernel tells it. */
#include "base/machine.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MEMINFO_BYTES_MAX = 16 * 1024 };

/* "MemTotal:  123 kB" at a line's beginning. */
static bool find_kilobytes(const char *text, const char *name, uint64_t *ret_bytes)
{
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        unsigned long long value;
        size_t bytes = strlen(name);
        if (strncmp(line, name, bytes) != 0 || sscanf(line + bytes, ": %llu kB", &value) != 1) continue;
        *ret_bytes = (uint64_t)value * 1024;
        return true;
    }
    return false;
}

es_status es_machine_read_text(const char *path, char *ret_text, size_t text_bytes, es_err *err)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return es_err_set(err, errno == ENOENT ? ES_NOT_FOUND : ES_IO, "%s: %s", path, strerror(errno));
    size_t bytes = fread(ret_text, 1, text_bytes - 1, file);
    bool good = ferror(file) == 0;
    fclose(file);
    ret_text[bytes] = '\0';
    return good ? ES_OK : es_err_set(err, ES_IO, "%s: cannot be read", path);
}

es_status es_machine_memory_read(const char *meminfo, es_machine_memory *ret_memory, es_err *err)
{
    char text[MEMINFO_BYTES_MAX];
    es_status status = es_machine_read_text(meminfo, text, sizeof text, err);
    if (status != ES_OK) return status;
    if (!find_kilobytes(text, "MemTotal", &ret_memory->total_bytes) ||
        !find_kilobytes(text, "MemAvailable", &ret_memory->available_bytes))
        status = es_err_set(err, ES_CORRUPT, "%s: no MemTotal or MemAvailable", meminfo);
    return status;
}

size_t es_machine_numa_nodes(const char *path)
{
    DIR *folder = opendir(path);
    size_t count = 0;
    if (folder == NULL) return 1;
    for (const struct dirent *item; (item = readdir(folder)) != NULL;)
        if (strncmp(item->d_name, "node", 4) == 0 && item->d_name[4] >= '0' && item->d_name[4] <= '9')
            count++;
    closedir(folder);
    return count == 0 ? 1 : count;
}

es_status es_machine_parse_bytes(const char *text, uint64_t *ret_bytes, es_err *err)
{
    static const char UNITS[] = "KMGT";
    size_t digits = strspn(text, "0123456789.");
    char *rest = NULL;
    double value = strtod(text, &rest);
    bool number = digits > 0 && rest == text + digits;
    const char *unit = number && *rest != '\0' ? strchr(UNITS, *rest) : NULL;
    bool good = number && (*rest == '\0' || (unit != NULL && rest[1] == '\0'));
    for (ptrdiff_t i = 0; good && unit != NULL && i <= unit - UNITS; i++) value *= 1024;
    if (!good || !(value >= 1 && value < 0x1p62))
        return es_err_set(err, ES_INVALID, "\"%s\": write a number and K, M, G or T, for example 24G", text);
    *ret_bytes = (uint64_t)value;
    return ES_OK;
}
