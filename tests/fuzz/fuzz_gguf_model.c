/* Any bytes as a GGUF model's metadata and list of tensors, whose data are zeros: the model is refused by a
 * line that names the file, or opens with a shape whose sizes agree, every weight in its place and readable.
 */
#include "essaim/model.h"
#include "weights/shape.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { DATA_BYTES = 256 << 10 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint8_t seen;

static void look_at(const es_matrix *w)
{
    if (w->data == NULL) return;
    size_t lines = w->layout == ES_LAYOUT_PANELS ? (w->rows + 15) / 16 : w->rows;
    ES_ASSERT(w->rows > 0 && w->cols > 0 && w->row_bytes > 0);
    seen = (uint8_t)(w->data[0] + w->data[w->row_bytes * lines - 1]);
}

static void look_at_layer(const es_shape *s, const es_layer *layer)
{
    const es_attention *a = &layer->attention;
    ES_ASSERT(s->q_lora == 0 || a->q_a.rows == s->q_lora);
    look_at(&a->q_a);
    look_at(&a->q_b);
    look_at(&a->q);
    look_at(&a->o);
    for (size_t h = 0; a->k_absorb != NULL && h < s->heads; h++) look_at(&a->k_absorb[h]);
    for (size_t e = 0; layer->experts != NULL && e < s->experts; e++) {
        look_at(&layer->experts[e].gate);
        look_at(&layer->experts[e].down);
    }
}

static void look_at_model(const es_model *model)
{
    const es_shape *s = &model->shape;
    ES_ASSERT(s->layers > 0 && s->dense_layers <= s->layers && s->eos_count > 0 && s->bos < s->vocab);
    ES_ASSERT(s->experts == 0 ||
              (s->groups_kept >= 1 && s->groups_kept <= s->groups && s->experts % s->groups == 0 &&
               s->experts_per_token <= s->experts / s->groups * s->groups_kept));
    ES_ASSERT(model->embedding.rows == s->vocab && model->embedding.cols == s->hidden);
    look_at(&model->embedding);
    look_at(&model->head);
    for (size_t l = 0; l < s->layers; l++) look_at_layer(s, &model->layers[l]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static char path[32];
    if (fd < 0) {
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        ES_ASSERT(fd >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    ES_ASSERT(ftruncate(fd, 0) == 0 && ftruncate(fd, (off_t)(size + DATA_BYTES)) == 0);
    ES_ASSERT(pwrite(fd, data, size, 0) == (ssize_t)size);
    const es_model_parts parts = {.backbone = true, .all_experts = true};
    es_model *model;
    es_err err = {ES_OK, ""};
    es_status status = es_model_open(path, &parts, NULL, NULL, &model, &err);
    ES_ASSERT(status == err.status && (model == NULL) == (status != ES_OK));
    if (status == ES_OK)
        look_at_model(model);
    else
        ES_ASSERT(strncmp(err.text, path, strlen(path)) == 0);
    es_model_close(&model);
    return 0;
}
