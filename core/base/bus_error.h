/* What becomes of a program that reads a mapped file where the file has nothing any more. */
#ifndef ES_BASE_BUS_ERROR_H
#define ES_BASE_BUS_ERROR_H

/* From here on SIGBUS from a mapped file (it was made shorter, or its disk fails) ends the program with an
 * event that names the file and exit code ES_EXIT_FAILED, instead of a core dump without a word. Weights that
 * are gone cannot be computed from, so there is nothing to go on with. Called once, by main. */
void es_bus_error_start(void);

#endif
