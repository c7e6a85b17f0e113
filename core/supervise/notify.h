/* What a service manager is told: ready, still loading, alive, reloading, stopping. Without one
 * (NOTIFY_SOCKET) all of it does nothing. */
#ifndef ES_SUPERVISE_NOTIFY_H
#define ES_SUPERVISE_NOTIFY_H

#include <stdint.h>

/* Loading takes longer than the unit's start timeout and makes progress: asks for half a minute more. At most
 * once a second. */
void es_notify_loading(uint64_t done, uint64_t total);

/* status is what `systemctl status` shows. */
void es_notify_ready(const char *status);
/* It is ready again once es_notify_ready is called again. */
void es_notify_reloading(void);
void es_notify_stopping(void);

/* How often es_notify_alive is wanted, in ms, half of the unit's WatchdogSec; 0: nobody watches. */
int es_notify_interval_ms(void);
void es_notify_alive(void);

#endif
