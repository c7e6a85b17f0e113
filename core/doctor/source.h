/* Where the doctor looks: this machine's /proc and /sys, or those below another folder. */
#ifndef ES_DOCTOR_SOURCE_H
#define ES_DOCTOR_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct es_doctor_source {
    const char *root; /* "": this machine; else a folder that holds proc and sys */
} es_doctor_source;

enum { ES_SOURCE_TEXT_MAX = 16 * 1024 };

/* The beginning of the file root + path, without the newline at its end; false when it cannot be read. */
bool es_source_text(const es_doctor_source *source, const char *path, char *ret_text, size_t text_bytes);

/* The number that a file holds. */
bool es_source_number(const es_doctor_source *source, const char *path, double *ret_number);

/* Of "a [b] c" b, else the whole text. */
bool es_source_choice(const es_doctor_source *source, const char *path, char *ret_text, size_t text_bytes);

/* The bytes of a line "Name:   123 kB" of proc/meminfo. */
bool es_source_meminfo(const es_doctor_source *source, const char *name, uint64_t *ret_bytes);

/* Calls each(context, name) for what is in the folder root + path, sorted by name, at most 4096 of them. */
void es_source_list(const es_doctor_source *source, const char *path,
                    void (*each)(void *context, const char *name), void *context);

#endif
