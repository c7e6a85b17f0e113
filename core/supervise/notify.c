/* What a service manager is told: systemd's protocol, by systemd's own library. */
#include "supervise/notify.h"

#include "base/clock.h"

#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <systemd/sd-daemon.h>

static const uint64_t LOADING_EVERY_NS = 1000000000;

void es_notify_loading(uint64_t done, uint64_t total)
{
    static atomic_uint_fast64_t last_ns;
    uint64_t now = es_clock_now_ns();
    if (now - atomic_load(&last_ns) < LOADING_EVERY_NS) return;
    atomic_store(&last_ns, now);
    sd_notifyf(0, "STATUS=loading: %.1f of %.1f GB\nEXTEND_TIMEOUT_USEC=30000000", (double)done / 1e9,
               (double)total / 1e9);
}

void es_notify_ready(const char *status)
{
    sd_notifyf(0, "READY=1\nSTATUS=%s", status);
}

void es_notify_reloading(void)
{
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, es_clock_now_ns() / 1000);
}

void es_notify_stopping(void)
{
    sd_notify(0, "STOPPING=1\nSTATUS=finishing what is under way");
}

int es_notify_interval_ms(void)
{
    uint64_t usec = 0;
    if (sd_watchdog_enabled(0, &usec) <= 0) return 0;
    uint64_t half_ms = usec / 2000;
    return half_ms > INT_MAX ? INT_MAX : half_ms < 1 ? 1 : (int)half_ms;
}

void es_notify_alive(void)
{
    sd_notify(0, "WATCHDOG=1");
}
