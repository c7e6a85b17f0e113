/* Where the doctor looks. */
#include "doctor/source.h"

#include "base/machine.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_MAX = 4096 };

static bool full_path(const es_doctor_source *source, const char *path, char out[PATH_MAX])
{
    int length = snprintf(out, PATH_MAX, "%s%s", source->root, path);
    return length > 0 && length < PATH_MAX;
}

bool es_source_text(const es_doctor_source *source, const char *path, char *ret_text, size_t text_bytes)
{
    char full[PATH_MAX];
    if (!full_path(source, path, full) || es_machine_read_text(full, ret_text, text_bytes, NULL) != ES_OK)
        return false;
    size_t length = strlen(ret_text);
    while (length > 0 && ret_text[length - 1] == '\n') ret_text[--length] = '\0';
    return true;
}

bool es_source_number(const es_doctor_source *source, const char *path, double *ret_number)
{
    char text[128], *rest;
    if (!es_source_text(source, path, text, sizeof text)) return false;
    errno = 0;
    *ret_number = strtod(text, &rest);
    return rest != text && errno == 0;
}

bool es_source_choice(const es_doctor_source *source, const char *path, char *ret_text, size_t text_bytes)
{
    if (!es_source_text(source, path, ret_text, text_bytes)) return false;
    const char *open = strchr(ret_text, '['), *close = open != NULL ? strchr(open, ']') : NULL;
    if (close == NULL) return true;
    size_t length = (size_t)(close - open - 1);
    memmove(ret_text, open + 1, length);
    ret_text[length] = '\0';
    return true;
}

bool es_source_meminfo(const es_doctor_source *source, const char *name, uint64_t *ret_bytes)
{
    char text[ES_SOURCE_TEXT_MAX];
    if (!es_source_text(source, ES_MEMINFO_PATH, text, sizeof text)) return false;
    size_t length = strlen(name);
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        unsigned long long value;
        if (strncmp(line, name, length) != 0 || sscanf(line + length, ": %llu", &value) != 1) continue;
        /* HugePages_* are counts, all others kilobytes */
        *ret_bytes = strncmp(name, "HugePages_", 10) == 0 ? value : (uint64_t)value * 1024;
        return true;
    }
    return false;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void es_source_list(const es_doctor_source *source, const char *path,
                    void (*each)(void *context, const char *name), void *context)
{
    char full[PATH_MAX], **names = calloc(LIST_MAX, sizeof *names);
    DIR *folder = full_path(source, path, full) ? opendir(full) : NULL;
    size_t count = 0;
    if (folder != NULL && names != NULL)
        for (const struct dirent *item; count < LIST_MAX && (item = readdir(folder)) != NULL;)
            if (item->d_name[0] != '.' && (names[count] = strdup(item->d_name)) != NULL) count++;
    if (folder != NULL) closedir(folder);
    if (names != NULL) qsort(names, count, sizeof *names, by_name);
    for (size_t i = 0; i < count; i++) {
        each(context, names[i]);
        free(names[i]);
    }
    free(names);
}
