#include "queue/inbox.h"

#include "relay/base/mem.h"

void
inbox_drain(struct inbox *inbox)
{
	struct inbox_item *newest = atomic_exchange(&inbox->newest, NULL);
	struct inbox_item *first = NULL;

	while (newest) {
		struct inbox_item *next = newest->next;

		newest->next = first;
		first = newest;
		newest = next;
	}
	while (first) {
		struct inbox_item *item = first;

		first = item->next;     /* run() takes it */
		item->run(item);
	}
}

static void
wake_up(void *ctx)
{
	struct inbox *inbox = ctx;

	/* First say that the next sender must wake us, then look. */
	atomic_store(&inbox->posted, false);
	if (inbox->closed)
		mem_free(&inbox);
	else
		inbox_drain(inbox);
}

struct inbox *
inbox_new(struct loop *loop)
{
	struct inbox *inbox = mem_alloc(sizeof(*inbox));

	inbox->loop = loop;
	loop_post_init(&inbox->post, wake_up, inbox);
	return inbox;
}

void
inbox_send(struct inbox *inbox, struct inbox_item *item)
{
	struct inbox_item *newest = atomic_load_explicit(&inbox->newest, memory_order_relaxed);

	do {
		item->next = newest;
	} while (!atomic_compare_exchange_weak(&inbox->newest, &newest, item));
	if (!atomic_exchange(&inbox->posted, true))
		loop_post(inbox->loop, &inbox->post);
}

void
inbox_close(struct inbox **inbox_address)
{
	struct inbox *inbox = *inbox_address;

	*inbox_address = NULL;
	if (!inbox)
		return;
	while (atomic_load(&inbox->newest))
		inbox_drain(inbox);
	if (atomic_load(&inbox->posted))
		inbox->closed = true;
	else
		mem_free(&inbox);
}
