/* How far another machine is, who answers there, and how much its link carries: probes over the control
 * socket of an expert node or of a doctor that serves. */
#ifndef ES_DOCTOR_LINK_H
#define ES_DOCTOR_LINK_H

#include "net/channel.h"
#include "net/control.h"

typedef struct es_link_options {
    const char *server_key; /* Z85; NULL: plain, loopback */
    size_t rounds;          /* of there and back, at most ES_LINK_ROUNDS_MAX */
    uint64_t rounds_ns;     /* and no longer than this */
    uint64_t bulk_bytes;    /* to carry in each direction; 0: none */
    uint64_t bulk_ns;       /* and no longer than this, each */
} es_link_options;

enum { ES_LINK_ROUNDS_MAX = 1000 };

typedef struct es_link_report {
    es_probe_reply peer;
    size_t rounds;
    double round_trip_s;   /* median, through ZeroMQ and encryption, as calls are */
    double best_s, late_s; /* the quickest; the 99th percentile */
    double jitter_s;       /* median distance of one round from the one before */
    double network_s;      /* the kernel's least round trip of the connection; 0: not known */
    double clock_ahead_s;  /* the peer's wall clock minus ours, */
    double clock_error_s;  /* give or take this */
    double to_bytes_per_s, from_bytes_per_s; /* 0: not measured */
    uint32_t path_mtu;                       /* that the kernel knows of; 0: not known */
    uint32_t resent;                         /* segments sent again */
    bool loopback;                           /* no card and no cable is in it */
} es_link_report;

/* A connection to a peer. One thread. */
typedef struct es_prober es_prober;

/* Begins to connect, so that many links wait for those who do not answer at the same time. Borrows options
 * and its texts until es_link_close. */
es_status es_link_open(es_net *net, const es_endpoint *endpoint, const es_link_options *options,
                       es_prober **ret_link, es_err *err);
void es_link_close(es_prober **link);

/* Measures a link; no other link of the net is measured meanwhile. Every wait has a deadline: what is left of
 * 3 s since it was opened, and at most rounds_ns + 2 bulk_ns + 6 s. ES_UNAVAILABLE: nobody answers;
 * ES_MISMATCH: refused, or another protocol; ES_UNSUPPORTED: an expert node that knows no probes; ES_TIMEOUT:
 * it stopped answering. */
es_status es_link_measure(es_prober *link, es_link_report *ret_report, es_err *err);

#endif
