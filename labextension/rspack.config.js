// Numbers by order: by default they depend on the directory in which this is built.
module.exports = { optimization: { chunkIds: 'natural', moduleIds: 'natural' } };
