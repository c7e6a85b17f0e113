/* Shapes that a planner knows by name. */
#ifndef ES_PLANNER_KNOWN_MODEL_H
#define ES_PLANNER_KNOWN_MODEL_H

#include "essaim/model.h"

/* "deepseek-r1" or "deepseek-v3": ES_NOT_FOUND for other names, which the text lists. */
es_status es_known_model(const char *name, es_shape *ret_shape, es_err *err);

#endif
