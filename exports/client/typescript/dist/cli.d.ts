#!/usr/bin/env node
/** The command line for Node, which the README of the clients defines: a launch, and what the model says. */
export {};
