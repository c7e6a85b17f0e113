/* Which web pages may use the server: CORS, and the names under which a server without keys answers. */
#ifndef ES_HTTP_ORIGIN_H
#define ES_HTTP_ORIGIN_H

#include "base/options.h"

/* Whether a page of this origin ("https://chat.example:8443") may use a server that was asked as host
 * ("localhost:8080", "" when not said). list: origins as --cors says them, "*" for any; an empty list stands
 * for pages of this machine and of programs on it. The server's own pages always may. */
bool es_http_origin_allowed(const es_option_list *list, const char *origin, const char *host);

/* True for the names that only this machine has: "localhost", "x.localhost", and every numeric address. A
 * page that pretends to be this machine (DNS rebinding) comes with a name of its own. */
bool es_http_host_is_local(const char *host);

#endif
