/* One ZeroMQ context and the thread that checks keys for it. */
#include "net/net.h"

#include "net/soon.h"
#include "net/zap.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { SOCKETS_MAX = 8192 };

struct es_net {
    void *context;
    const es_keys *keys;
    es_zap *zap;
    es_allow_list *allowed; /* NULL: zap too */
    atomic_uint_least64_t numbers;
};

es_status es_net_open(const es_net_options *options, es_net **ret_net, es_err *err)
{
    *ret_net = NULL;
    es_net *net = calloc(1, sizeof *net);
    if (net == NULL) return es_err_set(err, ES_NO_MEMORY, "network");
    net->keys = options->keys;
    net->context = zmq_ctx_new();
    es_status status = ES_OK;
    if (net->context == NULL || zmq_ctx_set(net->context, ZMQ_MAX_SOCKETS, SOCKETS_MAX) != 0)
        status = es_err_set(err, ES_IO, "network: %s", zmq_strerror(zmq_errno()));
    if (status == ES_OK) es_soon_start(net->context);
    if (status == ES_OK && options->keys != NULL && zmq_has("curve") == 0)
        status = es_err_set(err, ES_UNSUPPORTED, "keys: this libzmq was built without CURVE");
    if (status == ES_OK && options->allowed != NULL)
        status = es_zap_start(net->context, options->allowed, &net->zap, err);
    net->allowed = options->allowed;
    if (status != ES_OK) es_net_close(&net);
    *ret_net = net;
    return status;
}

void es_net_close(es_net **net)
{
    if (*net == NULL) return;
    if ((*net)->context != NULL) zmq_ctx_shutdown((*net)->context);
    es_zap_join(&(*net)->zap);
    if ((*net)->context != NULL) zmq_ctx_term((*net)->context);
    free(*net);
    *net = NULL;
}

void *es_net_context(const es_net *net)
{
    return net->context;
}

const es_keys *es_net_keys(const es_net *net)
{
    return net->keys;
}

uint64_t es_net_next_number(es_net *net)
{
    return atomic_fetch_add(&net->numbers, 1);
}

es_allow_list *es_net_allowed(const es_net *net)
{
    return net->allowed;
}
