/* Real etcd servers on loopback, and a gate before one that can be shut. */
#ifndef ES_TESTS_ETCD_FIXTURE_H
#define ES_TESTS_ETCD_FIXTURE_H

#include "cluster/etcd_client.h"

#include <sys/types.h>

enum { ETCD_MEMBERS_MAX = 3, ETCD_ARGS_MAX = 40 };

typedef struct etcd_member {
    pid_t pid; /* 0: not running */
    int client_port, peer_port;
} etcd_member;

/* Members that form one cluster, in a folder of their own. */
typedef struct etcd_cluster {
    char folder[64];
    etcd_member members[ETCD_MEMBERS_MAX];
    size_t count;
    bool tls;
} etcd_cluster;

/* False, and says so, when this machine has no etcd. */
bool etcd_installed(void);

/* Starts count members and waits until they answer. tls: with certificates made in the folder: ca.pem,
 * client.pem, client.key. Everything fails the test when it goes wrong. */
void etcd_start(etcd_cluster *cluster, size_t count, bool tls);
void etcd_stop(etcd_cluster *cluster);

/* SIGKILL; and the same member again, on its data. It does not wait until it answers. */
void etcd_kill(etcd_cluster *cluster, size_t member);
void etcd_restart(etcd_cluster *cluster, size_t member);

/* "http://127.0.0.1:1,http://127.0.0.1:2" */
void etcd_endpoints(const etcd_cluster *cluster, char ret_text[256]);

/* A POST to one member, beside the registry under test. body is JSON text. NULL: it failed. */
json_t *etcd_post(const etcd_cluster *cluster, size_t member, const char *path, const char *body);
json_t *etcd_post_as(const etcd_cluster *cluster, size_t member, const char *user, const char *password,
                     const char *path, const char *body);

/* Waits until the member answers. */
void etcd_wait(const etcd_cluster *cluster, size_t member);

/* Passes connections on to a port, unless it is shut. */
typedef struct gate gate;
typedef enum gate_state {
    GATE_OPEN,
    GATE_SHUT,   /* connections end, and new ones are refused as soon as they come */
    GATE_MUTE,   /* connections stand, and nothing goes through */
    GATE_NO_KEYS /* a watch comes through, what reads or writes keys does not */
} gate_state;

gate *gate_open(int to_port, int *ret_port);
void gate_set(gate *g, gate_state state);
void gate_close(gate *g);

#endif
