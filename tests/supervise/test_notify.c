/* What arrives at a service manager's socket. */
#include "supervise/notify.h"
#include "with_cmocka.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int manager = -1;
static char heard[512];

static int listen_as_manager(void **state)
{
    (void)state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char name[64];
    /* An abstract name: nothing to clean up. */
    snprintf(name, sizeof name, "essaim-test-%ld", (long)getpid());
    memcpy(address.sun_path + 1, name, strlen(name));
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
    if (manager < 0 || bind(manager, (struct sockaddr *)&address, bytes) != 0) return -1;
    char variable[80];
    snprintf(variable, sizeof variable, "@%s", name);
    return setenv("NOTIFY_SOCKET", variable, 1);
}

static int stop_listening(void **state)
{
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    return close(manager);
}

/* The next message, or "" when there is none. */
static const char *hear(void)
{
    ssize_t count = recv(manager, heard, sizeof heard - 1, MSG_DONTWAIT);
    heard[count > 0 ? count : 0] = '\0';
    return heard;
}

static void readiness_comes_with_what_status_shows(void **state)
{
    (void)state;
    es_notify_ready("http://127.0.0.1:8080");
    assert_string_equal(hear(), "READY=1\nSTATUS=http://127.0.0.1:8080");
}

static void loading_asks_for_time_once_a_second_at_most(void **state)
{
    (void)state;
    es_notify_loading(1500000000, 3000000000);
    assert_non_null(strstr(hear(), "STATUS=loading: 1.5 of 3.0 GB"));
    assert_non_null(strstr(heard, "EXTEND_TIMEOUT_USEC=30000000"));
    es_notify_loading(1600000000, 3000000000);
    assert_string_equal(hear(), "");
}

static void life_is_told_at_half_the_time_that_is_asked_for(void **state)
{
    (void)state;
    assert_int_equal(es_notify_interval_ms(), 0);
    setenv("WATCHDOG_USEC", "5000000", 1);
    assert_int_equal(es_notify_interval_ms(), 2500);
    unsetenv("WATCHDOG_USEC");
    es_notify_alive();
    assert_string_equal(hear(), "WATCHDOG=1");
}

static void reloading_has_a_time(void **state)
{
    (void)state;
    es_notify_reloading();
    assert_non_null(strstr(hear(), "RELOADING=1\nMONOTONIC_USEC="));
}

static void the_end_is_told(void **state)
{
    (void)state;
    es_notify_stopping();
    assert_non_null(strstr(hear(), "STOPPING=1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readiness_comes_with_what_status_shows),
        cmocka_unit_test(loading_asks_for_time_once_a_second_at_most),
        cmocka_unit_test(life_is_told_at_half_the_time_that_is_asked_for),
        cmocka_unit_test(reloading_has_a_time),
        cmocka_unit_test(the_end_is_told),
    };
    return cmocka_run_group_tests(tests, listen_as_manager, stop_listening);
}
