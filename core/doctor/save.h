/* Measured machines as a file that `essaim plan --machines` reads. */
#ifndef ES_DOCTOR_SAVE_H
#define ES_DOCTOR_SAVE_H

#include "planner/machine.h"

#include <stdio.h>

/* Writes one machine as an object, several as {"machines": […]}; figures that are 0 are left out. names are
 * made different from each other where two are alike. ES_INVALID names a machine whose memory, bandwidth or
 * cores are not known: the planner needs them. */
es_status es_machines_save(const char *path, const es_machine *machines, size_t count, es_err *err);

#endif
