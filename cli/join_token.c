/* Where `essaim join` has its token from: arguments can be read by every user of the machine, a file or
 * standard input not. */
#include "cli/join_token.h"

#include "base/clock.h"
#include "base/file.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char BLANKS[] = " \t\r\n";

/* The first line of bytes, without blanks around it. */
static es_status take_line(const char *where, const char *bytes, size_t count, char *ret_text, es_err *err)
{
    const char *end = memchr(bytes, '\n', count);
    if (end != NULL) count = (size_t)(end - bytes);
    while (count > 0 && strchr(BLANKS, bytes[count - 1]) != NULL) count--;
    while (count > 0 && strchr(BLANKS, *bytes) != NULL) {
        bytes++;
        count--;
    }
    if (count == 0) return es_err_set(err, ES_INVALID, "%s: no token is on its first line", where);
    if (count >= CLI_JOIN_TOKEN_MAX || memchr(bytes, '\0', count) != NULL)
        return es_err_set(err, ES_INVALID, "%s: its first line is no token", where);
    memcpy(ret_text, bytes, count);
    ret_text[count] = '\0';
    return ES_OK;
}

static es_status read_input(int input, unsigned wait_ms, char *ret_text, es_err *err)
{
    char bytes[2 * CLI_JOIN_TOKEN_MAX] = {0};
    size_t count = 0;
    uint64_t deadline_ns = es_clock_now_ns() + wait_ms * UINT64_C(1000000);
    es_status status = ES_OK;
    while (count < sizeof bytes && memchr(bytes, '\n', count) == NULL && status == ES_OK) {
        struct pollfd fd = {input, POLLIN, 0};
        int ready = poll(&fd, 1, es_clock_left_ms(deadline_ns));
        if (ready < 0 && errno == EINTR) continue;
        if (ready == 0) {
            status =
                es_err_set(err, ES_TIMEOUT, "no token came on standard input within %u s", wait_ms / 1000);
            break;
        }
        ssize_t got = read(input, bytes + count, sizeof bytes - count);
        if (got < 0 && errno != EINTR) status = es_err_set(err, ES_IO, "standard input: %s", strerror(errno));
        if (got == 0) break;
        if (got > 0) count += (size_t)got;
    }
    if (status == ES_OK) status = take_line("standard input", bytes, count, ret_text, err);
    explicit_bzero(bytes, sizeof bytes);
    return status;
}

es_status cli_join_token_read(const char *word, const char *file, int input, unsigned wait_ms,
                              char ret_text[CLI_JOIN_TOKEN_MAX], es_err *err)
{
    char *text;
    size_t bytes;
    if (word != NULL && strcmp(word, "-") == 0) return read_input(input, wait_ms, ret_text, err);
    if (word != NULL) return take_line("the token", word, strlen(word), ret_text, err);
    es_status status = es_file_read(file, (size_t)2 * CLI_JOIN_TOKEN_MAX, &text, &bytes, err);
    if (status != ES_OK) return status;
    status = take_line(file, text, bytes, ret_text, err);
    explicit_bzero(text, bytes);
    free(text);
    return status;
}
