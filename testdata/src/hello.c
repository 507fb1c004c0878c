// SPDX-License-Identifier: Apache-2.0
/*
 * hello: a small module that exports one symbol for everybody, one for GPL modules and one in a
 * namespace, and has a little of most kinds of data.
 */
#include <linux/cache.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/version.h>

int testexport(int a)
{
	return a + 1;
}
EXPORT_SYMBOL(testexport);

int testexport_gpl(int a)
{
	return a + 2;
}
EXPORT_SYMBOL_GPL(testexport_gpl);

int testexport_ns(int a)
{
	return a + 3;
}
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
EXPORT_SYMBOL_NS_GPL(testexport_ns, "KOTOOL_TEST");
#else
EXPORT_SYMBOL_NS_GPL(testexport_ns, KOTOOL_TEST);
#endif

static DEFINE_PER_CPU(int, hello_count);
static const char *const hello_words[] = { "hello", "world", "from", "a module" };
static int hello_answer __ro_after_init = 42;
static char hello_room[64];

static int __init hello_init(void)
{
	this_cpu_inc(hello_count);
	hello_room[0] = 'h';
	pr_info("%s, %s (%d)\n", hello_words[0], hello_words[1], testexport(hello_answer));
	return 0;
}

static void __exit hello_exit(void)
{
	pr_info("%s, bye\n", hello_words[testexport_gpl(0) & 3]);
}

module_init(hello_init);
module_exit(hello_exit);

MODULE_AUTHOR("kotool authors");
MODULE_DESCRIPTION("A module that exports");
MODULE_LICENSE("GPL");
MODULE_VERSION("1.2");
MODULE_ALIAS("kotool-hello");
MODULE_SOFTDEP("pre: crc32c");
