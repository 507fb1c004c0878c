// SPDX-License-Identifier: Apache-2.0
/* prop: a module that is not GPL; it exports, and has neither init nor exit. */
#include <linux/kernel.h>
#include <linux/module.h>

int prop_answer(void)
{
	return 42;
}
EXPORT_SYMBOL(prop_answer);

MODULE_DESCRIPTION("A module that is not GPL");
MODULE_LICENSE("Proprietary");
